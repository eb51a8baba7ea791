#include "dialects/mx/Analysis/Storage.h"

#include "mlir/IR/Builders.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace vernier::mx;

static Buffer makeBuffer(Buffer::Part part, Type element, ArrayRef<int64_t> shape, SmallVector<BufferDim> dims) {
  Buffer buffer{part, element, std::move(dims), {}};
  for (const BufferDim &dim : buffer.dims) {
    int64_t size = shape[dim.dim];
    buffer.shape.push_back(ShapedType::isDynamic(size) || dim.grouped ? ShapedType::kDynamic
                                                                      : llvm::divideCeil(size, dim.divisor));
  }
  return buffer;
}

SmallVector<Buffer> vernier::mx::buffersOf(Type type) {
  Type byte = IntegerType::get(type.getContext(), 8);
  ArrayRef<int64_t> shape = shapeOf(type);
  SmallVector<BufferDim> plain;
  for (unsigned i = 0; i < shape.size(); ++i)
    plain.push_back({i});
  auto scaled = llvm::dyn_cast<ScaledType>(type);
  if (!scaled) {
    Type element = llvm::cast<RankedTensorType>(type).getElementType();
    return {makeBuffer(Buffer::Data, element.isInteger(1) ? byte : element, shape, plain)};
  }
  FormatAttr format = scaled.getFormat();
  SmallVector<BufferDim> payload = plain, scales = plain;
  payload.back().divisor = format.isPacked() ? 2 : 1;
  scales[scales.size() - 2].divisor = format.getBlockRows();
  scales.back().divisor = format.getBlockCols();
  scales.back().grouped = scaled.getGrouped();
  SmallVector<Buffer> buffers{makeBuffer(Buffer::Payload, byte, shape, payload),
                              makeBuffer(Buffer::Scales, byte, shape, scales)};
  if (format.hasTensorScale())
    buffers.push_back({Buffer::TensorScale, Float32Type::get(type.getContext()), {}, {}});
  return buffers;
}

SmallVector<Type> vernier::mx::memrefsOf(TypeRange types) {
  SmallVector<Type> memrefs;
  for (Type type : types)
    for (const Buffer &buffer : buffersOf(type))
      memrefs.push_back(MemRefType::get(buffer.shape, buffer.element));
  return memrefs;
}
