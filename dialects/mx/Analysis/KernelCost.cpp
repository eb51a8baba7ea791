#include "dialects/mx/Analysis/KernelCost.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace vernier::mx;

static int64_t known(int64_t size, const CostModel &model) { return ShapedType::isDynamic(size) ? model.nominalSize : size; }

static int64_t elementsOf(Type type, const CostModel &model) {
  int64_t count = 1;
  for (int64_t size : shapeOf(type))
    count *= known(size, model);
  return count;
}

int64_t vernier::mx::bytesOf(Type type, const CostModel &model) {
  int64_t count = elementsOf(type, model);
  if (auto scaled = llvm::dyn_cast<ScaledType>(type)) {
    FormatAttr format = scaled.getFormat();
    return count * format.getElementBits() / 8 + count / (format.getBlockRows() * format.getBlockCols());
  }
  Type element = llvm::cast<RankedTensorType>(type).getElementType();
  return count * llvm::divideCeil(element.getIntOrFloatBitWidth(), 8);
}

/// Rough FP32 operations per element of the result.
static int64_t workOf(Operation *op, const CostModel &model) {
  if (llvm::isa<QuantizeOp, RequantizeOp, DequantizeOp, TransposeOp>(op))
    return 8;
  if (llvm::isa<SigmoidOp>(op))
    return 28;
  if (op->getName().getDialectNamespace() == "math")
    return 16;
  if (auto product = llvm::dyn_cast<ProductInterface>(op)) {
    // Tensor cores make some forty products while others make one.
    int64_t depth = shapeOf(product.getLeft().getType())[product.getContraction() == Contraction::Rows ? 0 : 1];
    return 2 * known(depth, model) / 40;
  }
  if (auto unpermute = llvm::dyn_cast<UnpermuteOp>(op))
    return 2 * shapeOf(unpermute.getIndex().getType())[1];
  return 1;
}

/// Microseconds that threads take to make a product's left operand, for every tile of the result anew. Fitted to one H200: from
/// MXFP4 1.2 us for 128 x 128 of it, gathered FP8 1.0, quantised BF16 1.9.
static double makingOf(const KernelOps &kernel, const llvm::SetVector<Operation *> &ahead, const CostModel &model) {
  if (ahead.empty())
    return 0;
  constexpr int64_t side = 128, multiprocessors = 132;
  constexpr double always = 0.8, anOperation = 0.025, aBit = 0.05;
  auto sizeOf = [&](Value value, unsigned dim) { return known(shapeOf(value.getType())[dim], model); };
  double operations = 0, bits = 0;
  for (Operation *op : ahead) {
    operations += double(workOf(op, model));
    for (Value operand : op->getOperands())
      if (!kernel.contains(operand) && shapeOf(operand.getType()).size() == 2)
        bits = std::max(bits, 8.0 * double(bytesOf(operand.getType(), model)) / double(elementsOf(operand.getType(), model)));
  }
  ProductInterface product = kernel.product();
  Value left = product.getLeft(), result = product->getResult(0);
  int64_t tiles = llvm::divideCeil(sizeOf(left, 0), side) * llvm::divideCeil(sizeOf(result, 1), side);
  return double(llvm::divideCeil(tiles, multiprocessors) * llvm::divideCeil(sizeOf(left, 1), side)) *
         (always + anOperation * operations + aBit * bits);
}

KernelCost vernier::mx::costOf(const KernelOps &kernel, const CostModel &model) {
  KernelCost cost;
  // What is read once from memory, and how often each row is visited again by a gather.
  llvm::DenseSet<Value> read;
  int64_t repeats = 1;
  for (Operation *op : kernel.ops)
    if (auto unpermute = llvm::dyn_cast<UnpermuteOp>(op))
      repeats = std::max(repeats, shapeOf(unpermute.getIndex().getType())[1]);
  ProductInterface product = kernel.product();
  llvm::SetVector<Operation *> ahead = kernel.aheadOfProduct();
  for (Operation *op : kernel.ops) {
    auto broadcast = llvm::dyn_cast<BroadcastOp>(op);
    for (Value operand : op->getOperands()) {
      bool shapeOnly = broadcast && operand == broadcast.getLike() && operand != broadcast.getInput();
      if (shapeOnly || kernel.contains(operand) || !read.insert(operand).second)
        continue;
      cost.bytesRead += bytesOf(operand.getType(), model);
    }
    if (ahead.contains(op))
      continue; // see makingOf
    bool beside = product && op != product;
    for (Value result : op->getResults())
      (beside ? cost.operationsBeside : cost.operations) += workOf(op, model) * elementsOf(result.getType(), model);
  }
  // A value computed for a gather is computed once for every destination; k copies of a row, k times.
  for (Operation *op : kernel.ops)
    if (auto permute = llvm::dyn_cast<PermuteOp>(op); permute && kernel.contains(permute.getInput()) && !ahead.contains(op))
      cost.operations *= 2;
  if (repeats > 1 && llvm::any_of(kernel.ops, [&](Operation *op) {
        auto unpermute = llvm::dyn_cast<UnpermuteOp>(op);
        return unpermute && kernel.contains(unpermute.getInput());
      }))
    cost.operations *= repeats;
  for (Value output : kernel.outputs)
    cost.bytesWritten += bytesOf(output.getType(), model);
  // The warps that finish tiles are few. They work while others multiply, but for the last tile of a multiprocessor, and all
  // ask for its instructions. Fitted to one H200: what SwiGLU, silu and FP8 behind products of K = 2048 and 7168 took.
  constexpr double fewWarps = 5, contention = 0.9;
  double beside = cost.operationsBeside / model.operationsPerMicrosecond, tilesEach = 1;
  if (product)
    tilesEach = std::max(1.0, double(elementsOf(product->getResult(0).getType(), model)) / double(model.elementsAWave));
  // Memory and arithmetic go on side by side, though not perfectly: fitted to what products and SwiGLU by itself took.
  constexpr double notHidden = 0.25;
  double moved = (cost.bytesRead + cost.bytesWritten) / model.bytesPerMicrosecond,
         computed = cost.operations / model.operationsPerMicrosecond;
  double work = std::max(moved, computed) + notHidden * std::min(moved, computed);
  // Who multiplies waits for who makes operands, however long memory takes.
  double waited = std::max(0.0, makingOf(kernel, ahead, model) - computed);
  cost.microseconds = model.launchMicroseconds + std::max(work + contention * beside, fewWarps * beside) +
                      fewWarps * beside / tilesEach + waited;
  return cost;
}
