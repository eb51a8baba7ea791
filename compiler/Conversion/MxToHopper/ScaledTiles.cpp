// Block formats: amounts of a tile quantised, decoded and re-encoded.
#include "compiler/Conversion/MxToHopper/TileEmitter.h"

#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace vernier;
using namespace vernier::tiled;
using arith::CmpIPredicate;

static VectorType typeOf(Value v) { return llvm::cast<VectorType>(v.getType()); }

Value TileEmitter::dequantized(Value scaled, const Rows &at, const Chunk &chunk, int64_t offset) {
  TileValue v = matrix(scaled, at, chunk, offset);
  mx::FormatAttr format = llvm::cast<mx::ScaledType>(scaled.getType()).getFormat();
  Value scale;
  if (format.hasTensorScale()) {
    // Scales are E4M3 numbers; the tensor scale divides.
    Value block = lanes.decode(lanes.narrow(v.scales), format.getScale());
    scale = arith::DivFOp::create(b, loc, block, expandLike(tensorScale(scaled), block));
  } else {
    scale = lanes.scaleValue(v.scales);
  }
  Value numbers = hopper::DecodeOp::create(b, loc, tile(R, C, b.getF32Type()), v.data);
  return arith::MulFOp::create(b, loc, numbers, expand(scale, R, C));
}

/// The FP32 scale of a whole tensor. Slices keep it; a kernel's operand has it in memory.
Value TileEmitter::tensorScale(Value scaled) {
  while (auto slice = scaled.getDefiningOp<mx::SliceOp>())
    scaled = slice.getInput();
  if (auto quantize = scaled.getDefiningOp<mx::QuantizeOp>(); quantize && ops.contains(scaled))
    return scalar(quantize.getTensorScale());
  return hopper::LoadOp::create(b, loc, tile(1, 1, b.getF32Type()), inputBuffer(scaled, 2), Value(), Value(), Value(), Value(),
                                Value(), 1);
}

/// Scales that are E4M3 numbers, relative to one of the whole tensor.
TileValue TileEmitter::quantizedRelative(mx::QuantizeOp op, Value x) {
  mx::FormatAttr format = op.getResult().getType().getFormat();
  Type element = format.getElement();
  Value amax = reduce(hopper::ReduceKind::AMax, x, R, C / format.getBlockCols());
  Value tensor = scalar(op.getTensorScale());
  Value relative = arith::DivFOp::create(b, loc, lanes.real(amax), lanes.f32(amax, mx::limitsOf(element).max));
  Value scale = lanes.encode(arith::MulFOp::create(b, loc, relative, expandLike(tensor, amax)), format.getScale());
  Value poisoned = lanes.cmp(CmpIPredicate::uge, amax, 0x7f800000);
  Value byte = lanes.select(poisoned, lanes.integer(scale, 8, 0x7f), scale);
  Value decoded = lanes.decode(byte, format.getScale());
  Value zero = lanes.cmp(CmpIPredicate::eq, lanes.bits(decoded), 0);
  Value safe = lanes.select(zero, lanes.f32(decoded, 1.0), decoded);
  Value scaledX = arith::MulFOp::create(b, loc, toF32(x), expand(tensor, R, C));
  Value quotient = arith::DivFOp::create(b, loc, scaledX, expand(safe, R, C));
  // A block whose scale rounds to zero decodes to zero, and so do its codes.
  Value dead = arith::OrIOp::create(b, loc, zero, poisoned);
  Value codes = hopper::EncodeOp::create(b, loc, tile(R, C, element), quotient, Value(), dead, Value());
  return {codes, lanes.widen(byte)};
}

/// Random bits of every element: its index in the tensor is the counter.
Value TileEmitter::noise(mx::QuantizeOp op, const Rows &at, const Chunk &chunk, int64_t offset) {
  int64_t columns = mx::shapeOf(op.getInput().getType())[1];
  Type i64 = b.getI64Type();
  Value row = arith::ExtUIOp::create(b, loc, tile(R, 1, i64), at.index);
  Value first = arith::MulIOp::create(b, loc, row, lanes.integer(row, 64, columns));
  Value column = hopper::ColumnsOp::create(b, loc, tile(1, C, b.getIndexType()), addTo(chunk.start, offset));
  Value step = arith::IndexCastOp::create(b, loc, tile(1, C, i64), column);
  Value counter = arith::AddIOp::create(b, loc, expand(first, R, C), expand(step, R, C));
  return lanes.philox(expand(scalar(op.getSeed()), R, C), counter);
}

TileValue TileEmitter::quantized(mx::QuantizeOp op, const Rows &at, const Chunk &chunk, int64_t offset) {
  mx::FormatAttr format = op.getResult().getType().getFormat();
  Type element = format.getElement();
  int64_t height = format.getBlockRows(), width = format.getBlockCols();
  Value x = matrix(op.getInput(), at, chunk, offset).data;
  // A block that is cut off by the last column must not see what was computed beyond it.
  if (Value exists = existingColumns(chunk); exists && ShapedType::isDynamic(mx::shapeOf(op.getInput().getType())[1]))
    x = hopper::KeepOp::create(b, loc, x.getType(), x, exists);
  if (format.hasTensorScale())
    return quantizedRelative(op, x);
  Value amax = reduce(hopper::ReduceKind::AMax, x, std::max<int64_t>(1, R / height), C / width);
  Value byte = lanes.scaleByte(amax, format, {});
  Value poisoned = lanes.cmp(CmpIPredicate::eq, byte, 255);
  Value random = op.getRounding() == mx::Rounding::Stochastic ? noise(op, at, chunk, offset) : Value();
  return {hopper::EncodeOp::create(b, loc, tile(R, C, element), x, lanes.inverseScale(byte), poisoned, random), byte};
}

Value TileEmitter::loweredByte(Value largest, Type from, Type to) {
  Value lowered = lanes.clamp(lanes.sub(largest, lanes.i32(largest, mx::headroom(from, to))), 0, 254);
  return lanes.select(lanes.cmp(CmpIPredicate::eq, largest, 255), lanes.i32(largest, 255), lowered);
}

Value TileEmitter::recoded(Value codes, Value scales, Value byte, Type to, bool coarser) {
  int64_t gridRows = std::max(typeOf(scales).getDimSize(0), typeOf(byte).getDimSize(0));
  int64_t gridCols = std::max(typeOf(scales).getDimSize(1), typeOf(byte).getDimSize(1));
  Value shift = lanes.sub(expand(scales, gridRows, gridCols), expand(byte, gridRows, gridCols));
  // A block's exponent is the largest of its parts', lowered by the headroom: without any, nothing rises.
  bool falls = coarser && mx::headroom(typeOf(codes).getElementType(), to) == 0;
  return hopper::RecodeOp::create(b, loc, tile(R, C, to), codes, shift, lanes.cmp(CmpIPredicate::eq, byte, 255), falls);
}

TileValue TileEmitter::requantized(mx::RequantizeOp op, const Rows &at, const Chunk &chunk, int64_t offset) {
  TileValue v = matrix(op.getInput(), at, chunk, offset);
  mx::FormatAttr source = op.getInput().getType().getFormat(), target = op.getResult().getType().getFormat();
  Type from = source.getElement(), to = target.getElement();
  int64_t gridCols = C / target.getBlockCols();
  Value byte;
  if (target.getBlockCols() <= source.getBlockCols()) {
    Value amax = reduce(hopper::ReduceKind::AMax, v.data, R, gridCols);
    byte = lanes.scaleByte(amax, target, expand(v.scales, R, gridCols));
  } else {
    byte = loweredByte(reduce(hopper::ReduceKind::UMax, v.scales, R, gridCols), from, to);
  }
  return {recoded(v.data, v.scales, byte, to, target.getBlockCols() > source.getBlockCols()), byte};
}

TileValue TileEmitter::reblocked(mx::TransposeOp op, const Chunk &chunk, int64_t offset) {
  TileValue v = matrix(op.getInput(), rows, chunk, offset);
  Type from = llvm::cast<mx::ScaledType>(op.getInput().getType()).getFormat().getElement();
  Type to = llvm::cast<mx::ScaledType>(op.getResult().getType()).getFormat().getElement();
  Value largest = reduce(hopper::ReduceKind::UMax, v.scales, R / mx::TransposeOp::kBlock, typeOf(v.scales).getDimSize(1));
  Value byte = loweredByte(largest, from, to);
  return {recoded(v.data, v.scales, byte, to, /*coarser=*/true), byte};
}
