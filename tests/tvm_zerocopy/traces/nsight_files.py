"""Files as Nsight Systems exports them: the schema and headings of its user guide, with few rows."""

import sqlite3

# CUDA_MEMCPY_KIND_* and CUDA_MEMOPR_MEMORY_KIND_* of the guide's "SQLite Schema Event Values".
HTOD, DTOH, DTOD, UVM_HTOD = 1, 2, 8, 11
PAGEABLE, PINNED, DEVICE, MANAGED = 0, 1, 2, 4
# start, end (ns), bytes, copyKind, srcKind, dstKind
COPIES = [
    (1_000, 3_000, 6_220_800, HTOD, PAGEABLE, DEVICE),
    (10_000, 12_000, 6_220_800, HTOD, PAGEABLE, DEVICE),
    (5_000, 5_500, 8_400, DTOH, DEVICE, PINNED),
    (15_000, 15_500, 8_400, DTOH, DEVICE, PINNED),
    (4_000, 4_300, 1_024, DTOD, DEVICE, DEVICE),
    (4_500, 4_900, 65_536, UVM_HTOD, MANAGED, MANAGED),
]
FILLS = [(500, 600, 4_096), (9_500, 9_700, 4_096)]
KERNELS = [(3_000, 4_000, 1), (12_000, 13_500, 1), (4_300, 4_400, 2)]  # start, end, name
NAMES = {1: "void conv2d_kernel(float *)", 2: "softmax"}


def write_sqlite(path, copies=COPIES, fills=FILLS, kernels=KERNELS, enums=True, kinds=True, graphs=(), batch=None):
    """``enums``: the words of kinds (2021.4 and later); ``kinds``: the columns srcKind and dstKind; ``graphs``: start
    and end of launches recorded whole; ``batch``: the column copyCount of every copy (since 2025)."""
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE StringIds (id INTEGER NOT NULL PRIMARY KEY, value TEXT NOT NULL)")
    database.executemany("INSERT INTO StringIds VALUES (?, ?)", NAMES.items())
    common = "start INTEGER NOT NULL, end INTEGER NOT NULL, deviceId INTEGER, streamId INTEGER, correlationId INTEGER"
    if copies:
        ends = ", srcKind INTEGER, dstKind INTEGER" if kinds else ""
        ends += "" if batch is None else ", copyCount INTEGER"
        database.execute(
            f"CREATE TABLE CUPTI_ACTIVITY_KIND_MEMCPY ({common}, bytes INTEGER, copyKind INTEGER NOT NULL{ends})"
        )
        for number, (start, end, size, kind, *memory) in enumerate(copies):
            row = (
                start,
                end,
                0,
                7,
                number,
                size,
                kind,
                *(memory if kinds else ()),
                *(() if batch is None else [batch]),
            )
            database.execute(f"INSERT INTO CUPTI_ACTIVITY_KIND_MEMCPY VALUES ({','.join('?' * len(row))})", row)
    if fills:
        database.execute(f"CREATE TABLE CUPTI_ACTIVITY_KIND_MEMSET ({common}, value INTEGER, bytes INTEGER NOT NULL)")
        rows = [(start, end, 0, 7, 0, 0, size) for start, end, size in fills]
        database.executemany("INSERT INTO CUPTI_ACTIVITY_KIND_MEMSET VALUES (?,?,?,?,?,?,?)", rows)
    if kernels:
        names = "demangledName INTEGER, shortName INTEGER, gridX INTEGER"
        database.execute(f"CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL ({common}, {names})")
        rows = [(start, end, 0, 7, 0, name, name, 1) for start, end, name in kernels]
        database.executemany("INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL VALUES (?,?,?,?,?,?,?,?)", rows)
    if graphs:
        database.execute(f"CREATE TABLE CUPTI_ACTIVITY_KIND_GRAPH_TRACE ({common}, graphId INTEGER NOT NULL)")
        rows = [(start, end, 0, 7, 0, 1) for start, end in graphs]
        database.executemany("INSERT INTO CUPTI_ACTIVITY_KIND_GRAPH_TRACE VALUES (?,?,?,?,?,?)", rows)
    if enums:
        for table, words in (
            ("ENUM_CUDA_MEMCPY_OPER", {HTOD: "Host-to-Device", DTOH: "Device-to-Host", DTOD: "Device-to-Device"}),
            ("ENUM_CUDA_MEM_KIND", {PAGEABLE: "Pageable", PINNED: "Pinned", DEVICE: "Device", MANAGED: "Managed"}),
        ):
            database.execute(f"CREATE TABLE {table} (id INTEGER NOT NULL PRIMARY KEY, name TEXT, label TEXT)")
            database.executemany(f"INSERT INTO {table} VALUES (?, '', ?)", words.items())
    database.commit()
    database.close()
    return path


CHATTER = """Generating SQLite file report1.sqlite from report1.nsys-rep
Processing [report1.sqlite] with [/opt/nvidia/nsight-systems/reports/cuda_gpu_trace.py]...
"""
TRACE_HEADING = (
    "Start (ns),Duration (ns),CorrId,GrdX,GrdY,GrdZ,BlkX,BlkY,BlkZ,Reg/Trd,StcSMem (MB),DymSMem (MB),Bytes (MB),"
    "Throughput (MBps),SrcMemKd,DstMemKd,Device,Ctx,Strm,Name"
)
TRACE = f"""{CHATTER}
{TRACE_HEADING}
1000,2000,107,,,,,,,,,,6.221,3110.400,Pageable,Device,NVIDIA GeForce RTX 3060 (0),1,7,[CUDA memcpy Host-to-Device]
3000,1000,108,384,1,1,128,1,1,32,0.000,0.001,,,,,NVIDIA GeForce RTX 3060 (0),1,7,"void conv2d_kernel(float *, int)"
5000,500,109,,,,,,,,,,0.008,16.800,Device,Pinned,NVIDIA GeForce RTX 3060 (0),1,7,[CUDA memcpy Device-to-Host]
10000,2000,110,,,,,,,,,,6.221,3110.400,Pageable,Device,NVIDIA GeForce RTX 3060 (0),1,7,[CUDA memcpy HtoD]
500,100,111,,,,,,,,,,0.004,40.960,Device,,NVIDIA GeForce RTX 3060 (0),1,7,[CUDA memset]

"""
TIMES = """ ** CUDA GPU MemOps Summary (by Time) (cuda_gpu_mem_time_sum):

Time (%),Total Time (ns),Count,Avg (ns),Med (ns),Min (ns),Max (ns),StdDev (ns),Operation
98.1,1843200,48,38400.0,38400,38000,38900,210.5,[CUDA memcpy Host-to-Device]
1.9,36000,24,1500.0,1500,1400,1600,50.5,[CUDA memcpy Device-to-Host]

"""
SIZES = """ ** CUDA GPU MemOps Summary (by Size) (cuda_gpu_mem_size_sum):

Total (MB),Count,Avg (MB),Med (MB),Min (MB),Max (MB),StdDev (MB),Operation
298.598,48,6.221,6.221,6.221,6.221,0.000,[CUDA memcpy Host-to-Device]
0.202,24,0.008,0.008,0.008,0.008,0.000,[CUDA memcpy Device-to-Host]

"""
KERNEL_TIMES = """Time (%),Total Time (ns),Instances,Avg (ns),Med (ns),Min (ns),Max (ns),StdDev (ns),Name
80.0,8000000,120,66666.7,66000,60000,80000,5000.0,conv2d_nchwc_kernel
20.0,2000000,40,50000.0,50000,45000,55000,4000.0,"decode_kernel(float *, int)"
"""
# What the same prints without --format csv.
COLUMNS = """Processing [report1.sqlite] with [/opt/nvidia/nsight-systems/reports/cuda_gpu_mem_time_sum.py]...

 ** CUDA GPU MemOps Summary (by Time) (cuda_gpu_mem_time_sum):

 Time (%)  Total Time (ns)  Count  Avg (ns)  Med (ns)  Min (ns)  Max (ns)  StdDev (ns)           Operation
 --------  ---------------  -----  --------  --------  --------  --------  -----------  ----------------------------
     98.1        1,843,200     48  38,400.0  38,400.0    38,000    38,900        210.5  [CUDA memcpy Host-to-Device]
      1.9           36,000     24   1,500.0   1,500.0     1,400     1,600         50.5  [CUDA memcpy Device-to-Host]

 ** CUDA GPU MemOps Summary (by Size) (cuda_gpu_mem_size_sum):

 Total (MB)  Count  Avg (MB)  Med (MB)  Min (MB)  Max (MB)  StdDev (MB)           Operation
 ----------  -----  --------  --------  --------  --------  -----------  ----------------------------
  1,298.598     48     6.221     6.221     6.221     6.221        0.000  [CUDA memcpy Host-to-Device]
      0.202     24     0.008     0.008     0.008     0.008        0.000  [CUDA memcpy Device-to-Host]

 ** CUDA GPU Kernel Summary (cuda_gpu_kern_sum):

 Time (%)  Total Time (ns)  Instances  Avg (ns)  Med (ns)  Min (ns)  Max (ns)  StdDev (ns)              Name
 --------  ---------------  ---------  --------  --------  --------  --------  -----------  ----------------------------
    100.0        2,000,000         40  50,000.0  49,000.0    45,000    55,000      4,000.0  decode_kernel(float *, int)

Generated:
    report1.sqlite
"""
