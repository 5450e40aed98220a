"""What numba has no word for: memory read ahead, and one comparison of a whole cache line.

Loops over 16 numbers are unrolled by the compiler before it could vectorise them (measured: 40 to 70 ns a
block, against 2 to 3 ns here), so that these few are written in LLVM's own terms; they run on any processor.
"""

from typing import Any, no_type_check

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

BLOCK = 16
"""numbers compared together: one cache line of float32"""


@intrinsic
@no_type_check
def prefetch(typing_context: Any, array: Any, index: Any) -> Any:
    """Begin to load `array[index]`; an index beyond the end is harmless, and nothing is computed."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = builder.bitcast(_place(context, builder, signature, arguments, 0, arguments[1]), _BYTE)
        kind = ir.FunctionType(ir.VoidType(), [_BYTE, _WORD, _WORD, _WORD])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        # For reading, to be kept in all caches, data.
        builder.call(function, [place, _WORD(0), _WORD(3), _WORD(1)])
        return context.get_dummy_value()

    return types.void(array, index), generate


@intrinsic
@no_type_check
def correlations_reach(
    typing_context: Any, total: Any, level_b: Any, bar_b: Any, first: Any, level_a: Any, bar_a: Any
) -> Any:
    """Bits of the pairs first..first+15 whose r = total - level_a level_b reaches either bar."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        first, level_a, bar_a = arguments[3:]
        x, g, bar = (_line(context, builder, signature, arguments, each, first) for each in (0, 1, 2))
        r = builder.fsub(x, builder.fmul(_splat(builder, level_a), g))
        return _reached(builder, r, _splat(builder, bar_a), bar)

    return types.uint32(total, level_b, bar_b, first, level_a, bar_a), generate


@intrinsic
@no_type_check
def shares_reach(
    typing_context: Any, total: Any, count_b: Any, bar_b: Any, first: Any, count_a: Any, bar_a: Any
) -> Any:
    """Bits of the pairs first..first+15 whose share = total / (count_a + count_b - total) reaches a bar."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        first, count_a, bar_a = arguments[3:]
        x, count, bar = (_line(context, builder, signature, arguments, each, first) for each in (0, 1, 2))
        either = builder.fsub(builder.fadd(_splat(builder, count_a), count), x)
        return _reached(builder, builder.fdiv(x, either), _splat(builder, bar_a), bar)

    return types.uint32(total, count_b, bar_b, first, count_a, bar_a), generate


@intrinsic
@no_type_check
def totals_reach(typing_context: Any, total: Any, bar_b: Any, first: Any, bar_a: Any) -> Any:
    """Bits of the pairs first..first+15 whose total reaches either bar."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        x, bar = (_line(context, builder, signature, arguments, each, arguments[2]) for each in (0, 1))
        return _reached(builder, x, _splat(builder, arguments[3]), bar)

    return types.uint32(total, bar_b, first, bar_a), generate


_BYTE, _WORD = ir.IntType(8).as_pointer(), ir.IntType(32)


def _place(context: Any, builder: Any, signature: Any, arguments: Any, position: int, index: Any) -> Any:
    array = context.make_array(signature.args[position])(context, builder, arguments[position])
    return builder.gep(array.data, [index])


def _line(context: Any, builder: Any, signature: Any, arguments: Any, position: int, index: Any) -> Any:
    pointer = _place(context, builder, signature, arguments, position, index)
    vector = ir.VectorType(pointer.type.pointee, BLOCK)
    width = context.get_abi_sizeof(pointer.type.pointee)
    return builder.load(builder.bitcast(pointer, vector.as_pointer()), align=width)


def _splat(builder: Any, number: Any) -> Any:
    vector = ir.VectorType(number.type, BLOCK)
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), number, _WORD(0))
    return builder.shuffle_vector(
        one, ir.Constant(vector, ir.Undefined), ir.Constant(ir.VectorType(_WORD, BLOCK), [0] * BLOCK)
    )


def _reached(builder: Any, value: Any, bar_a: Any, bar_b: Any) -> Any:
    either = builder.or_(builder.fcmp_ordered(">=", value, bar_a), builder.fcmp_ordered(">=", value, bar_b))
    return builder.zext(builder.bitcast(either, ir.IntType(BLOCK)), _WORD)
