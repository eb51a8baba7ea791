// Scales of blocks that span the rows of a tile: one pass over the rows for each layer of them.
#include "compiler/Conversion/MxToHost/TileEmitter.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace vernier;
using namespace vernier::host;

namespace {
/// An operation that takes its scale from several rows, where its columns begin, and its layer.
struct Spanning {
  Operation *op;
  int64_t offset;
  unsigned layer;
};
} // namespace

static bool spansRows(Operation *op) {
  if (auto quantize = llvm::dyn_cast<mx::QuantizeOp>(op))
    return quantize.getResult().getType().getFormat().getBlockRows() > 1;
  auto transpose = llvm::dyn_cast<mx::TransposeOp>(op);
  return transpose && transpose.reblocks();
}

static int64_t blockRows(Operation *op) {
  if (auto quantize = llvm::dyn_cast<mx::QuantizeOp>(op))
    return quantize.getResult().getType().getFormat().getBlockRows();
  return 128;
}

void TileEmitter::columnScales(ArrayRef<std::pair<Value, int64_t>> roots, const Chunk &chunk) {
  // What is needed, innermost first.
  SmallVector<Spanning> needed;
  std::map<std::pair<void *, int64_t>, unsigned> layers;
  std::function<unsigned(Value, int64_t)> visit = [&](Value value, int64_t offset) -> unsigned {
    if (!ops.contains(value))
      return 0;
    Operation *op = value.getDefiningOp();
    auto [it, fresh] = layers.try_emplace({op, offset}, 0);
    if (!fresh)
      return it->second;
    unsigned layer = 0;
    matrixOperands(op, offset, [&](Value operand, int64_t inner) { layer = std::max(layer, visit(operand, inner)); });
    if (spansRows(op))
      needed.push_back({op, offset, ++layer});
    return layers[{op, offset}] = layer;
  };
  for (auto [value, offset] : roots)
    visit(value, offset);
  llvm::stable_sort(needed, [](const Spanning &a, const Spanning &c) {
    return std::pair(a.layer, -blockRows(a.op)) < std::pair(c.layer, -blockRows(c.op));
  });

  // Operations of one layer and block height share a pass.
  for (size_t begin = 0, end; begin < needed.size(); begin = end) {
    int64_t height = blockRows(needed[begin].op);
    for (end = begin; end < needed.size() && needed[end].layer == needed[begin].layer && blockRows(needed[end].op) == height;)
      ++end;
    ArrayRef<Spanning> together(needed.data() + begin, end - begin);
    SmallVector<int64_t> widths;
    for (const Spanning &item : together) {
      int64_t width = 1;
      if (auto quantize = llvm::dyn_cast<mx::QuantizeOp>(item.op))
        width = quantize.getResult().getType().getFormat().getBlockCols();
      else
        width = llvm::cast<mx::ScaledType>(item.op->getOperand(0).getType()).getFormat().getBlockCols();
      widths.push_back(width);
      columnScaleBuffers[{item.op, item.offset}] = scratch({plan.rowTile / height, chunk.lanes / width}, b.getI8Type());
    }
    loop(index(0), tile.rows, height, [&](Value local) {
      Value left = arith::SubIOp::create(b, loc, tile.rows, local);
      Value count = arith::MinUIOp::create(b, loc, left, index(height));
      Value first = addIndex(tile.firstRow, local);
      SmallVector<Value> initial;
      for (auto [item, width] : llvm::zip(together, widths)) {
        int64_t lanesKept = llvm::isa<mx::QuantizeOp>(item.op) ? chunk.lanes : chunk.lanes / width;
        initial.push_back(arith::ConstantOp::create(b, loc, b.getZeroAttr(VectorType::get({lanesKept}, b.getI32Type()))));
      }
      auto rows = scf::ForOp::create(b, loc, first, addIndex(first, count), index(1), initial);
      {
        OpBuilder::InsertionGuard guard(b);
        b.setInsertionPointToStart(rows.getBody());
        Scope scope(*this);
        SmallVector<Value> next;
        for (auto [i, item] : llvm::enumerate(together)) {
          LaneValue v = matrix(item.op->getOperand(0), {rows.getInductionVar(), {}}, chunk, item.offset);
          Value seen;
          if (llvm::isa<mx::QuantizeOp>(item.op)) {
            Value x = v.data;
            if (!getElementTypeOrSelf(x.getType()).isF32())
              x = arith::ExtFOp::create(b, loc, VectorType::get({chunk.lanes}, b.getF32Type()), x);
            seen = lanes.absBits(x);
            if (chunk.valid)
              seen = lanes.select(isPadding(chunk, seen), lanes.i32(seen, 0), seen);
          } else {
            seen = lanes.widen(v.scales);
          }
          next.push_back(lanes.umax(rows.getRegionIterArg(i), seen));
        }
        scf::YieldOp::create(b, loc, next);
      }
      for (auto [i, item] : llvm::enumerate(together)) {
        Value largest = rows.getResult(i), byte;
        if (auto quantize = llvm::dyn_cast<mx::QuantizeOp>(item.op)) {
          Value amax = lanes.foldBlocks(largest, widths[i], [&](Value a, Value c) { return lanes.umax(a, c); });
          byte = lanes.scaleByte(amax, quantize.getResult().getType().getFormat(), {});
        } else {
          auto from = llvm::cast<mx::ScaledType>(item.op->getOperand(0).getType()).getFormat().getElement();
          auto to = llvm::cast<mx::ScaledType>(item.op->getResult(0).getType()).getFormat().getElement();
          Value lowered = lanes.clamp(lanes.sub(largest, lanes.i32(largest, mx::headroom(from, to))), 0, 254);
          byte = lanes.select(lanes.cmp(arith::CmpIPredicate::eq, largest, 255), lanes.i32(largest, 255), lowered);
        }
        Value buffer = columnScaleBuffers[{item.op, item.offset}];
        store(lanes.narrow(byte), buffer, {divide(local, height), index(0)}, {});
      }
    });
  }
}

Value TileEmitter::columnScale(Operation *op, const Chunk &chunk, int64_t offset, Value row) {
  Value buffer = columnScaleBuffers[{op, offset}];
  auto type = llvm::cast<MemRefType>(buffer.getType());
  Value local = arith::SubIOp::create(b, loc, row, tile.firstRow);
  return load(buffer, {divide(local, blockRows(op)), index(0)}, type.getDimSize(1), {});
}
