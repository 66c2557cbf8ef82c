"""Other people's messages, cut to what fits into one line."""


def one_line(error: BaseException) -> str:
    """The first line of a message that says something (and what follows its colon), at most 300 characters."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    if text.endswith(":"):
        text = " ".join(lines)
    return text if len(text) <= 300 else text[:297] + "..."
