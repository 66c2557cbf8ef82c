"""Destination passing: main's results become its last parameters, and the last kernels write straight into them."""

from __future__ import annotations

import warnings

import tvm
from tvm import relax, tirx

from ..errors import UnsupportedError
from .copy_kernel import copy_kernel
from .view_rules import RESHAPES, is_reshape_view, static_shape

BOUND = "tz.bound_outputs"  # attribute on main: how many of its last parameters are outputs


def BindExternalBuffers():
    """The pass, for builds that run Relax's VM (the engine's own lowering does the same on raw memory).

    ``main(inputs...)`` becomes ``main(inputs..., output0, output1, ...)``: tensors of the caller, of the results'
    shapes and dtypes, in their order. The kernel that makes a result writes there; nothing is
    allocated for it. Main still returns the results, which are now those tensors. Inputs are read where they are, as
    before. Where main has weights as parameters (attribute ``num_input``), the outputs come before the weights.

    Put it after ``FuseTIR`` (results are then ``R.call_tir``), or after ``CallTIRRewrite`` (results are then
    ``R.builtin.alloc_tensor``).

    One copy cannot be avoided where a result is a parameter or constant itself, or is returned twice: a kernel is added
    that writes it, and a warning says so.

    Raises
    ------
    UnsupportedError
        If a result has a size known only at run time, or is made by an operator that is not a kernel yet.

    Examples
    --------
    >>> mod = tvm.transform.Sequential([..., relax.transform.FuseTIR(), BindExternalBuffers()])(mod)
    >>> vm = relax.VirtualMachine(tvm.compile(mod, "llvm"), tvm.cpu())
    >>> vm["main"](frame, boxes, scores)
    """

    @tvm.transform.module_pass(opt_level=0, name="BindExternalBuffers")
    def bind(mod, _context):
        return _Binding(mod).module()

    return bind


class _Binding:
    def __init__(self, mod: tvm.IRModule):
        self.builder = relax.BlockBuilder(mod)
        self.main = mod["main"]
        if not isinstance(self.main.body, relax.SeqExpr):
            raise UnsupportedError("main returns its parameters; there is no kernel to bind outputs to")
        bindings = [binding for block in self.main.body.blocks for binding in block.bindings]
        self.values = {binding.var: binding.value for binding in bindings if isinstance(binding, relax.VarBinding)}
        self.written = {}  # variable bound to a kernel call or an allocation -> {number of its result: destination}
        self.views = set()  # variables bound to reshapes of what is written into an output
        self.copies = {}  # number of the output -> (source, destination)

    def module(self) -> tvm.IRModule:
        results = self._results()
        outputs = [relax.Var(f"output{index}", _static_type(result, index)) for index, result in enumerate(results)]
        for index, (result, output) in enumerate(zip(results, outputs)):
            self._place(index, result, output)
        inputs = int(self.main.attrs.get("num_input", len(self.main.params)))
        params = [*self.main.params[:inputs], *outputs, *self.main.params[inputs:]]
        main = relax.Function(params, self._body(results), self.main.ret_ty, self.main.is_pure, self.main.attrs)
        if "num_input" in main.attrs:
            main = main.with_attr("num_input", inputs + len(outputs))
        self.builder.update_func(self.builder.get().get_global_var("main"), main.with_attr(BOUND, len(outputs)))
        return relax.transform.Normalize()(self.builder.get())

    def _results(self):
        """The tensors that main returns, as variables or constants."""
        result = self.main.body.body
        while result in self.values and isinstance(self.values[result], (relax.Var, relax.Tuple)):
            if isinstance(self.values[result], relax.Tuple):
                return list(self.values[result].fields)
            result = self.values[result]
        return list(result.fields) if isinstance(result, relax.Tuple) else [result]

    # --- where each result is made ----------------------------------------------------------------------------------

    def _place(self, index: int, result, output) -> None:
        """Let the kernel that makes the result write it into ``output``; where that cannot be, note a copy."""
        source, number, views = result, 0, []
        while True:
            value = self.values.get(source)
            if isinstance(value, relax.Var):
                source = value
            elif isinstance(value, relax.TupleGetItem):
                source, number = value.tuple_value, int(value.index)
            elif isinstance(value, relax.Tuple):
                source, number = value.fields[number], 0
            elif _op_name(value) in RESHAPES and is_reshape_view(value):
                views.append(source)
                source = value.args[0]
            else:
                break
        made_here = _op_name(value) in ("relax.call_tir", "relax.builtin.alloc_tensor")
        if value is not None and not made_here:
            raise UnsupportedError(
                f"result {index} of main is made by {_op_name(value) or type(value).__name__}, which is no kernel yet; "
                "run relax.transform.LegalizeOps() and FuseTIR() before BindExternalBuffers()"
            )
        if made_here and number not in self.written.get(source, {}):
            self.written.setdefault(source, {})[number] = output
            self.views.update(views)
            return
        why = "is returned twice" if made_here else "is a parameter or constant of main"
        warnings.warn(f"result {index} {why}; a kernel that copies it was added", stacklevel=2)
        self.copies[index] = (result, output)

    # --- the new body -----------------------------------------------------------------------------------------------

    def _body(self, results):
        body, last = self.main.body.body, self.values.get(self.main.body.body)
        blocks = []
        for block in self.main.body.blocks:
            dataflow = isinstance(block, relax.DataflowBlock)
            bindings = []
            for binding in block.bindings:
                if binding.var in self.written:
                    bindings += self._write(binding, dataflow)
                elif binding.var in self.views:
                    bindings.append(relax.VarBinding(binding.var, self._seen_as(binding.value.args[0], binding.var.ty)))
                elif self.copies and binding.var.same_as(body) and isinstance(last, relax.Tuple):
                    copied = self._copy_all(results, bindings, dataflow)
                    bindings.append(relax.VarBinding(binding.var, relax.Tuple(copied)))
                else:
                    bindings.append(binding)
            blocks.append(relax.DataflowBlock(bindings) if dataflow else relax.BindingBlock(bindings))
        if self.copies and not isinstance(last, relax.Tuple):
            bindings = []
            copied = self._copy_all(results, bindings, False)
            blocks.append(relax.BindingBlock(bindings))
            body = relax.Tuple(copied) if isinstance(body, relax.Tuple) else copied[0]
        return relax.SeqExpr(blocks, body)

    def _write(self, binding, dataflow: bool):
        """The bindings in place of a kernel's call, or of an allocation, whose result is an output."""
        destinations = self.written[binding.var]
        if _op_name(binding.value) == "relax.builtin.alloc_tensor":
            return [relax.VarBinding(binding.var, self._seen_as(destinations[0], binding.var.ty))]
        call, bindings = binding.value, []
        types = call.ty_args[0].fields if isinstance(call.ty_args[0], tvm.ir.TupleType) else [call.ty_args[0]]
        arguments, places = list(call.args[1].fields), [-1] * len(types)
        for number, ty in enumerate(types):
            if number in destinations:
                view = self._seen_as(destinations[number], ty)
                if not isinstance(view, relax.Var):
                    bindings.append(
                        relax.VarBinding(_variable(destinations[number].name + "_view", ty, dataflow), view)
                    )
                    view = bindings[-1].var
                places[number] = len(arguments)
                arguments.append(view)
        kernel = call.args[0]
        if -1 in places[: max(destinations)]:
            kernel = self._outputs_first(kernel, len(call.args[1].fields), places)
        if len(call.args) > 2:
            raise UnsupportedError(f"{kernel.name_hint} takes sizes known only at run time beside its tensors")
        inplace = relax.op.call_tir_inplace(kernel, relax.Tuple(arguments), places, list(types))
        return [*bindings, relax.VarBinding(binding.var, self.builder.normalize(inplace))]

    def _outputs_first(self, kernel, inputs: int, places):
        """The kernel with its results as an in-place call passes them: those with a place among its arguments first."""
        function = self.builder.get()[kernel]
        before, results = function.params[:inputs], function.params[inputs : inputs + len(places)]
        ordered = [results[number] for number in sorted(range(len(places)), key=lambda number: places[number] == -1)]
        params = [*before, *ordered, *function.params[inputs + len(places) :]]
        reordered = tirx.PrimFunc(params, function.body, function.ret_type, function.attrs)
        return self.builder.add_func(reordered.without_attr("global_symbol"), f"{kernel.name_hint}_bound")

    def _seen_as(self, tensor, ty):
        """The same memory in another shape, by a call that no later pass turns into a copy."""
        shape = static_shape(ty)
        if shape == static_shape(tensor.ty):
            return tensor
        view = relax.op.call_pure_packed("vm.builtin.reshape", tensor, relax.ShapeExpr(shape), ty_args=ty)
        return self.builder.normalize(view)

    def _copy_all(self, results, bindings, dataflow: bool):
        """Append the copies to ``bindings``; the results with the copied ones in place of the originals."""
        copied = list(results)
        for index, (source, output) in self.copies.items():
            kernel = copy_kernel(static_shape(output.ty), str(output.ty.dtype), tvm.target.Target.current())
            kernel_var = self.builder.add_func(kernel, "copy_output")
            call = relax.op.call_tir_inplace(kernel_var, relax.Tuple([source, output]), 1, output.ty)
            variable = _variable(f"{output.name}_copy", output.ty, dataflow)
            bindings.append(relax.VarBinding(variable, self.builder.normalize(call)))
            copied[index] = variable
        return copied


def _op_name(value):
    return getattr(value.op, "name", None) if isinstance(value, relax.Call) else None


def _variable(name: str, ty, dataflow: bool):
    return (relax.DataflowVar if dataflow else relax.Var)(name, ty)


def _static_type(result, index: int):
    shape = static_shape(result.ty)
    if shape is None:
        raise UnsupportedError(f"result {index} of main is {result.ty}; only tensors of static shape can be bound")
    return relax.TensorType(shape, str(result.ty.dtype))
