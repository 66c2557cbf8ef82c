"""Parallel tasks that use AMX tiles configure them first, and release them at their end."""

from __future__ import annotations

import struct

import tvm
from tvm import s_tir, tirx
from tvm.tirx import call_llvm_intrin

from .bfloat16_conv2d import AMX, ANNOTATION

ATTRIBUTE = "tz.uses_amx"  # on a kernel: the process must have asked Linux for the tiles


@tvm.ir.transform.module_pass(opt_level=0, name="ConfigureAmxTiles")
class ConfigureAmxTiles:
    """Puts ``ldtilecfg`` and ``tilerelease`` around the body of the parallel loop of scheduled AMX convolutions.

    The configuration belongs to a thread, so that each task loads it; what it holds is in the block's annotation.
    """

    def transform_module(self, mod: tvm.IRModule, _ctx) -> tvm.IRModule:
        for global_var, func in mod.functions_items():
            if isinstance(func, tirx.PrimFunc) and (rows := _tile_rows(func.body)):
                root = func.body.block
                block = s_tir.SBlock(
                    root.iter_vars, root.reads, root.writes, root.name_hint, _configured(root.body, rows), root.init,
                    root.alloc_buffers, root.match_buffers, root.annotations,
                )  # fmt: skip
                body = s_tir.SBlockRealize(func.body.iter_values, func.body.predicate, block)
                mod[global_var] = func.with_body(body).with_attr(ATTRIBUTE, True)
        return mod


def _tile_rows(statement) -> int:
    """Rows of the pixel tiles that the convolution inside uses; 0 if there is none."""
    if isinstance(statement, s_tir.SBlockRealize):
        annotations = statement.block.annotations
        return int(annotations[ANNOTATION]) if ANNOTATION in annotations else _tile_rows(statement.block.body)
    if isinstance(statement, tirx.SeqStmt):
        return max(_tile_rows(part) for part in statement.seq)
    return _tile_rows(statement.body) if isinstance(statement, tirx.For) else 0


def _configured(body, rows):
    if isinstance(body, tirx.SeqStmt):
        return tirx.SeqStmt([_configured(part, rows) for part in body.seq])
    if not isinstance(body, tirx.For) or body.kind != tirx.ForKind.PARALLEL or not _tile_rows(body):
        return body
    config = tirx.decl_buffer((8,), "int64", "tile_config", data_alignment=64)
    stores = [
        tirx.BufferStore(config, tirx.IntImm("int64", word), [tirx.IntImm("int32", index)])
        for index, word in enumerate(configuration(rows))
    ]
    load = tirx.Evaluate(call_llvm_intrin("int32", "llvm.x86.ldtilecfg", tirx.address_of(config[0])))
    release = tirx.Evaluate(call_llvm_intrin("int32", "llvm.x86.tilerelease"))
    inner = tirx.SeqStmt([tirx.AllocBuffer(config), *stores, load, body.body, release])
    return tirx.For(body.loop_var, body.min, body.extent, body.kind, inner, body.thread_binding, body.annotations)


def configuration(rows: int) -> tuple[int, ...]:
    """The 64 bytes of LDTILECFG as eight words: palette 1, bytes a row from byte 16, rows from byte 48."""
    memory = bytearray(64)
    memory[0] = 1
    for tile, count in enumerate([rows] * 6 + [AMX.lanes] * 2):
        struct.pack_into("<H", memory, 16 + 2 * tile, 2 * AMX.depth)
        memory[48 + tile] = count
    return struct.unpack("<8q", bytes(memory))
