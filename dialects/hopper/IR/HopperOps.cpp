// Constraints of the operations.
#include "dialects/hopper/IR/Hopper.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace vernier::hopper;

#define GET_TYPEDEF_CLASSES
#include "dialects/hopper/IR/HopperTypes.cpp.inc"

#define GET_OP_CLASSES
#include "dialects/hopper/IR/HopperOps.cpp.inc"

void HopperDialect::registerTypes() {
  addTypes<
#define GET_TYPEDEF_LIST
#include "dialects/hopper/IR/HopperTypes.cpp.inc"
      >();
}

static VectorType tileOf(Value value) { return llvm::cast<VectorType>(value.getType()); }

/// The first constraint on moves: one row number a row, and an address that the memref has.
static LogicalResult verifyMove(Operation *op, MemRefType memref, VectorType tile, Value rows, Value cols) {
  int64_t rank = memref.getRank(), given = (rows ? 1 : 0) + (cols ? 1 : 0);
  if (rank != given)
    return op->emitOpError() << "expected " << rank << " of rows and cols for " << memref << ", but got " << given;
  if (rows && tileOf(rows).getDimSize(0) != tile.getDimSize(0))
    return op->emitOpError() << "expected one row number a row of " << tile << ", but got " << rows.getType();
  return success();
}

static LogicalResult verifyMultiple(Operation *op, VectorType large, VectorType small) {
  for (int dim : {0, 1})
    if (large.getDimSize(dim) % small.getDimSize(dim))
      return op->emitOpError() << "expected the shape of " << large << " to be a multiple of the shape of " << small;
  return success();
}

LogicalResult LoadOp::verify() {
  return verifyMove(*this, llvm::cast<MemRefType>(getMemref().getType()), tileOf(getResult()), getRows(), getCols());
}

LogicalResult StoreOp::verify() {
  return verifyMove(*this, llvm::cast<MemRefType>(getMemref().getType()), tileOf(getValue()), getRows(), getCols());
}

LogicalResult StoreTransposedOp::verify() {
  auto memref = llvm::cast<MemRefType>(getMemref().getType());
  if (memref.getRank() != 2)
    return emitOpError() << "expected a memref of rank 2, but got " << memref;
  return success();
}

LogicalResult StoreGatheredOp::verify() {
  int64_t rows = tileOf(getValue()).getDimSize(0);
  if (rows > kWindow || !llvm::isPowerOf2_64(uint64_t(rows)))
    return emitOpError() << "expected a power of two of rows, at most " << kWindow << ", but got " << rows;
  if (llvm::cast<MemRefType>(getMemref().getType()).getRank() != 2)
    return emitOpError() << "expected a memref of rank 2, but got " << getMemref().getType();
  return success();
}

LogicalResult TabulateOp::verify() {
  Block &body = getBody().front();
  auto one = [&](Type element) { return VectorType::get({1, 1}, element); };
  Builder b(getContext());
  if (body.getArgumentTypes() != ArrayRef<Type>{one(b.getBF16Type())})
    return emitOpError() << "expected a function of vector<1x1xbf16>, but got " << body.getArgumentTypes();
  auto end = llvm::dyn_cast<TabulatedOp>(body.getTerminator());
  if (!end || end.getValue().getType() != one(b.getF32Type()))
    return emitOpError() << "expected the body to yield vector<1x1xf32>";
  for (Operation &op : body.without_terminator())
    if (!OpTrait::hasElementwiseMappableTraits(&op) && !op.hasTrait<OpTrait::ConstantLike>())
      return emitOpError() << "expected elementwise operations and constants, but got " << op.getName();
  return success();
}

LogicalResult LookupOp::verify() {
  if (tileOf(getInput()).getShape() != tileOf(getResult()).getShape())
    return emitOpError() << "expected a result of the shape of " << getInput().getType() << ", but got "
                         << getResult().getType();
  return success();
}

/// Of hopper.multiply and hopper.begin_product.
template <typename Product> static LogicalResult verifyProduct(Product op, int64_t rows, int64_t cols) {
  StagedType a = op.getA().getType(), c = op.getB().getType();
  if (a.getElement() != c.getElement() || a.getCols() != c.getCols())
    return op.emitOpError() << "expected operands of one element and depth, but got " << a << " and " << c;
  if (a.getElement().isF32())
    return op.emitOpError() << "the tensor cores take no f32, but got " << a;
  if (cols != c.getRows() || int64_t(op.getRow()) + rows > a.getRows())
    return op.emitOpError() << "expected " << a.getRows() << " x " << c.getRows() << " results at most, but got "
                            << op.getResult().getType();
  uint64_t step = 32 * 8 / a.getElement().getIntOrFloatBitWidth();
  if (op.getDepth() == 0 || op.getDepth() % step || op.getFirst() % step ||
      op.getFirst() + op.getDepth() > uint64_t(a.getCols()))
    return op.emitOpError() << "expected multiples of " << step << " of " << a.getCols() << " columns, but got "
                            << op.getDepth() << " from " << op.getFirst();
  return success();
}

LogicalResult MultiplyOp::verify() {
  VectorType result = tileOf(getResult());
  return verifyProduct(*this, result.getDimSize(0), result.getDimSize(1));
}

LogicalResult BeginProductOp::verify() {
  SumsType result = getResult().getType();
  return verifyProduct(*this, result.getRows(), result.getCols());
}

LogicalResult AwaitProductOp::verify() {
  SumsType sums = getSums().getType();
  if (tileOf(getResult()).getShape() != ArrayRef<int64_t>{sums.getRows(), sums.getCols()})
    return emitOpError() << "expected the result of " << sums << ", but got " << getResult().getType();
  return success();
}

LogicalResult FetchScalesOp::verify() {
  int64_t blocks = int64_t(getBlocks()), word = int64_t(getWord());
  auto count = [](int64_t n) { return n >= 1 && n <= 8 && llvm::isPowerOf2_64(uint64_t(n)); };
  if (!count(blocks) || getResult().getType().getCount() % blocks)
    return emitOpError() << "expected scales of 1, 2, 4 or 8 columns, but got " << blocks << " in " << getResult().getType();
  // Addresses count rows of a known length.
  auto columnsOf = [](Value memref) {
    auto type = llvm::cast<MemRefType>(memref.getType());
    return type.getRank() == 2 ? type.getShape().back() : ShapedType::kDynamic;
  };
  int64_t columns = columnsOf(getMemref());
  if (ShapedType::isDynamic(columns) || !count(word) || (word > 1 && (word % blocks || columns % word)))
    return emitOpError() << "expected known columns in words of 1, 2, 4 or 8 with " << blocks << " together, but got " << word
                         << " of " << getMemref().getType();
  if (!getFactor())
    return success();
  int64_t factors = columnsOf(getFactor());
  if (ShapedType::isDynamic(factors) || factors % iterationsAWord())
    return emitOpError() << "expected known columns, a multiple of " << iterationsAWord() << ", of the factor, but got "
                         << getFactor().getType();
  return success();
}

StagedType PassedType::part() const {
  return StagedType::get(getContext(), 64, StagedType::kRowBytes * 8 / getElement().getIntOrFloatBitWidth(), getElement());
}

int64_t PassedType::bytes() const { return getRows() * llvm::divideCeil(getCols(), part().getCols()) * StagedType::kRowBytes; }

LogicalResult PassedType::verify(llvm::function_ref<InFlightDiagnostic()> emitError, int64_t rows, int64_t cols, Type element) {
  if (!llvm::isa<BFloat16Type, Float16Type, Float32Type>(element))
    return emitError() << "expected bf16, f16 or f32, but got " << element;
  int64_t together = StagedType::kRowBytes * 8 / element.getIntOrFloatBitWidth();
  if (rows < 64 || rows % 64 || cols < 1 || (cols % together && together % cols))
    return emitError() << "expected multiples of 64 x " << together << ", but got " << rows << " x " << cols;
  return success();
}

int64_t FinishOp::passedBytes() {
  int64_t bytes = 0;
  for (BlockArgument argument : getBody().getArguments().drop_front())
    bytes += llvm::cast<PassedType>(argument.getType()).bytes();
  return bytes;
}

LogicalResult FinishOp::verify() {
  int64_t together = getTogether();
  if (together < 1 || getTiles().size() % size_t(together) || getBuffers() < 1)
    return emitOpError() << "expected at least one buffer and a multiple of " << together << " tiles, but got "
                         << getTiles().size();
  if (getAddend() && (together != 1 || getTiles().empty()))
    return emitOpError() << "expected single tiles that are added to something";
  if (getLayout().threads() != kWarpgroup)
    return emitOpError() << "expected a layout of " << kWarpgroup << " threads, but got " << getLayout();
  SmallVector<Type> wanted{IndexType::get(getContext())};
  for (Value tile : getTiles().take_front(getTiles().empty() ? 0 : size_t(together))) {
    VectorType type = tileOf(tile);
    if (type.getDimSize(1) % int64_t(getPieces()))
      return emitOpError() << "expected " << getPieces() << " equal pieces, but got " << type;
    wanted.push_back(
        PassedType::get(getContext(), type.getDimSize(0), type.getDimSize(1) / int64_t(getPieces()), type.getElementType()));
  }
  if (TypeRange(getBody().getArgumentTypes()) != TypeRange(wanted))
    return emitOpError() << "expected a region that takes its number and " << (wanted.size() - 1) << " passed tiles";
  for (auto [i, tile] : llvm::enumerate(getTiles()))
    if (tile.getType() != getTiles()[i % size_t(together)].getType())
      return emitOpError() << "expected tiles of one type for every run, but got " << tile.getType();
  return success();
}

LogicalResult MakeOp::verify() {
  LayoutAttr layout = getLayout();
  StagedType tile = getTile().getType();
  if (layout.threads() != kWarpgroup || layout.getCols() != tile.getCols() || tile.getRows() % layout.getRows())
    return emitOpError() << "expected a layout of " << kWarpgroup << " threads over " << tile.getCols()
                         << " columns, whose rows divide " << tile.getRows() << ", but got " << layout;
  auto made = llvm::dyn_cast<MadeOp>(getBody().front().getTerminator());
  if (getBody().getNumArguments() != 1 || !getBody().getArgument(0).getType().isIndex() || !made)
    return emitOpError() << "expected a region that takes a row and ends in hopper.made";
  VectorType rows = tileOf(made.getTile());
  if (rows != VectorType::get({layout.getRows(), tile.getCols()}, tile.getElement()))
    return emitOpError() << "expected " << layout.getRows() << " rows of " << tile << ", but got " << rows;
  if (getScales().size() != made.getScales().size())
    return emitOpError() << "expected " << getScales().size() << " scales of its rows, but got " << made.getScales().size();
  for (auto [whole, part] : llvm::zip(getScales(), made.getScales())) {
    VectorType scales = tileOf(part);
    if (scales.getDimSize(0) != layout.getRows() ||
        scales.getDimSize(1) * tile.getRows() != llvm::cast<ScalesType>(whole.getType()).getCount())
      return emitOpError() << "expected scales of " << layout.getRows() << " rows that make " << whole.getType() << ", but got "
                           << scales;
  }
  return success();
}

LogicalResult ReadPassedOp::verify() {
  VectorType result = tileOf(getResult());
  PassedType tile = getTile().getType();
  if (result.getElementType() != tile.getElement() || result.getDimSize(1) != tile.getCols() || 64 % result.getDimSize(0))
    return emitOpError() << "expected some of the 64 rows of a warpgroup of " << tile << ", but got " << result;
  return success();
}

LogicalResult CopyPassedOp::verify() {
  auto memref = llvm::cast<MemRefType>(getMemref().getType());
  PassedType tile = getTile().getType();
  if (memref.getElementType() != tile.getElement() || tile.getCols() % tile.part().getCols())
    return emitOpError() << "expected a memref of " << tile.getElement() << " and multiples of " << tile.part().getCols()
                         << " columns, but got " << tile << " and " << memref;
  int64_t columns = memref.getShape().back();
  if (ShapedType::isDynamic(columns) || columns * memref.getElementTypeBitWidth() % 128)
    return emitOpError() << "expected rows of a known multiple of 16 bytes, but got " << memref;
  return success();
}

LogicalResult PrefetchOp::verify() {
  if (!llvm::isa<StagedType>(getTile()))
    return emitOpError() << "expected a staged tile, but got " << getTile();
  return success();
}

LogicalResult GroupTileOp::verify() {
  auto offsets = llvm::cast<MemRefType>(getOffsets().getType());
  if (offsets.getRank() != 1 || !offsets.getElementType().isInteger(32))
    return emitOpError() << "expected offsets of i32, but got " << offsets;
  if (int64_t(getHeight()) < 1)
    return emitOpError() << "expected tiles of at least one row, but got " << int64_t(getHeight());
  return success();
}

LogicalResult ReadScalesOp::verify() {
  VectorType result = tileOf(getResult());
  int64_t count = result.getNumElements();
  if (std::min(result.getDimSize(0), result.getDimSize(1)) != 1 ||
      int64_t(getFirst()) + count > getScales().getType().getCount())
    return emitOpError() << "expected a row or a column of " << getScales().getType() << " at most, but got " << result;
  return success();
}

LogicalResult StagedType::verify(llvm::function_ref<InFlightDiagnostic()> emitError, int64_t rows, int64_t cols, Type element) {
  if (!llvm::isa<Float8E4M3FNType, BFloat16Type, Float16Type, Float32Type>(element))
    return emitError() << "expected f8E4M3FN, bf16, f16 or f32, but got " << element;
  if (cols * element.getIntOrFloatBitWidth() != kRowBytes * 8)
    return emitError() << "expected rows of " << kRowBytes << " bytes, but got " << cols << " of " << element;
  if (rows < 8 || rows > 256 || rows % 8)
    return emitError() << "expected a multiple of 8 rows, at most 256, but got " << rows;
  return success();
}

LogicalResult ReduceOp::verify() {
  VectorType input = tileOf(getInput()), result = tileOf(getResult());
  if (failed(verifyMultiple(*this, input, result)))
    return failure();
  Type expected = input.getElementType();
  if (getKind() == ReduceKind::AMax || getKind() == ReduceKind::UMax)
    expected = IntegerType::get(getContext(), 32);
  if (result.getElementType() != expected)
    return emitOpError() << "expected a result of " << expected << ", but got " << result;
  return success();
}

LogicalResult ExpandOp::verify() {
  if (tileOf(getInput()).getElementType() != tileOf(getResult()).getElementType())
    return emitOpError() << "expected equal element types, but got " << getInput().getType() << " and "
                         << getResult().getType();
  return verifyMultiple(*this, tileOf(getResult()), tileOf(getInput()));
}

LogicalResult EncodeOp::verify() {
  if (tileOf(getInput()).getShape() != tileOf(getResult()).getShape())
    return emitOpError() << "expected equal shapes, but got " << getInput().getType() << " and " << getResult().getType();
  for (Value grid : {getScale(), getPoison(), getNoise()})
    if (grid && failed(verifyMultiple(*this, tileOf(getInput()), tileOf(grid))))
      return failure();
  return success();
}

LogicalResult RecodeOp::verify() {
  for (Value grid : {getShift(), getPoison()})
    if (failed(verifyMultiple(*this, tileOf(getCodes()), tileOf(grid))))
      return failure();
  return success();
}
