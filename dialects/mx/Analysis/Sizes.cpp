#include "dialects/mx/Analysis/Sizes.h"

#include "dialects/mx/IR/Mx.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace vernier::mx;

std::string Size::str() const {
  std::string text = isConstant() ? std::to_string(constant) : "arg" + std::to_string(argument) + "." + std::to_string(dim);
  for (int64_t multiple : roundUps)
    text = "round_up(" + text + ", " + std::to_string(multiple) + ")";
  if (divisor != 1)
    text = "floor(" + text + " / " + std::to_string(divisor) + ")";
  return plus ? text + " + " + std::to_string(plus) : text;
}

DenseI64ArrayAttr vernier::mx::encodeSize(const Size &size, Builder &b) {
  SmallVector<int64_t> words{size.argument, int64_t(size.dim), size.constant, size.divisor, size.plus};
  llvm::append_range(words, size.roundUps);
  return b.getDenseI64ArrayAttr(words);
}

Size vernier::mx::decodeSize(DenseI64ArrayAttr attribute) {
  ArrayRef<int64_t> words = attribute;
  Size size{int(words[0]), unsigned(words[1]), words[2], {}, words[3], words[4]};
  size.roundUps.assign(words.begin() + 5, words.end());
  return size;
}

Sizes::Sizes(func::FuncOp function) {
  function.walk<WalkOrder::PreOrder>([&](Operation *op) { visit(op); });
}

static void roundUp(Size &size, int64_t multiple) {
  if (size.isConstant())
    size.constant = llvm::alignTo(size.constant, multiple);
  else if (size.roundUps.empty() || size.roundUps.back() != multiple)
    size.roundUps.push_back(multiple);
}

static Size partOf(Size size, int64_t divisor, int64_t plus) {
  if (divisor == 1 && plus == 0)
    return size;
  assert(!size.isPart() && "a part of a part");
  if (size.isConstant())
    size.constant = size.constant / divisor + plus;
  else
    size.divisor = divisor, size.plus = plus;
  return size;
}

Size Sizes::canonical(Size size) const {
  while (!size.isConstant()) {
    auto it = substitution_.find({size.argument, size.dim});
    if (it == substitution_.end())
      break;
    Size base = it->second;
    for (int64_t multiple : size.roundUps)
      roundUp(base, multiple);
    size = partOf(base, size.divisor, size.plus);
  }
  return size;
}

Size Sizes::get(Value value, unsigned dim) const { return canonical(raw(value, dim)); }

Size Sizes::raw(Value value, unsigned dim) const {
  if (int64_t fixed = shapeOf(value.getType())[dim]; !ShapedType::isDynamic(fixed))
    return Size::fixed(fixed);
  if (auto argument = llvm::dyn_cast<BlockArgument>(value)) {
    if (auto kernel = llvm::dyn_cast<KernelOp>(argument.getOwner()->getParentOp()))
      return raw(kernel.getOperand(argument.getArgNumber()), dim);
    return {int(argument.getArgNumber()), dim, 0, {}};
  }
  Operation *op = value.getDefiningOp();
  if (auto kernel = llvm::dyn_cast<KernelOp>(op))
    return raw(kernel.getBody().front().getTerminator()->getOperand(llvm::cast<OpResult>(value).getResultNumber()), dim);
  if (auto dims = llvm::dyn_cast<DimsInterface>(op)) {
    DimSource source = dims.getDimSource(dim);
    Size size = raw(source.value, source.dim);
    if (source.roundUpTo > 1)
      roundUp(size, source.roundUpTo);
    return partOf(size, source.divisor, source.plus);
  }
  // Elementwise: any operand of the same rank has the shape of the result.
  for (Value operand : op->getOperands())
    if (shapeOf(operand.getType()).size() > dim)
      return raw(operand, dim);
  llvm_unreachable("a run-time size without a source");
}

void Sizes::demandEqual(Value a, unsigned dimA, Value b, unsigned dimB) { demandEqual(get(a, dimA), get(b, dimB)); }

void Sizes::demandEqual(Size left, Size right) {
  if (left == right)
    return;
  equalities_.push_back({left, right});
  if (left.isPart() || right.isPart()) // a size has no part as its other name
    return;
  // A size that equals itself rounded up gets no other name.
  if (!left.isConstant() && left.argument == right.argument && left.dim == right.dim)
    return;
  // Later questions see one name for both: the constant, else the earlier argument, else the derived size.
  auto plain = [](const Size &size) { return !size.isConstant() && size.roundUps.empty(); };
  if (plain(left) && (!plain(right) || std::pair(left.argument, left.dim) > std::pair(right.argument, right.dim)))
    substitution_[{left.argument, left.dim}] = right;
  else if (plain(right))
    substitution_[{right.argument, right.dim}] = left;
}

Size Sizes::turnedRows(Value operand, Operation *wgrad) const {
  Size size = get(operand, 0);
  auto blocks = llvm::dyn_cast<BlockWgradOp>(wgrad);
  if (blocks && size.isConstant() && blocks.getRows())
    return Size::fixed(int64_t(*blocks.getRows()));
  if (blocks)
    size.divisor = 1, size.plus = 0;
  return size;
}

void Sizes::visit(Operation *op) {
  if (llvm::isa<KernelOp, YieldOp, func::FuncOp, func::ReturnOp>(op) || op->getNumResults() == 0)
    return;
  auto rank = [](Value value) { return unsigned(shapeOf(value.getType()).size()); };
  auto sameShape = [&](Value a, Value b) {
    for (unsigned dim = 0; dim < std::min(rank(a), rank(b)); ++dim)
      demandEqual(a, dim, b, dim);
  };
  if (auto broadcast = llvm::dyn_cast<BroadcastOp>(op)) {
    for (auto [i, dim] : llvm::enumerate(broadcast.getDims()))
      demandEqual(broadcast.getInput(), i, broadcast.getResult(), dim);
  } else if (auto concat = llvm::dyn_cast<ConcatOp>(op)) {
    for (Value input : concat.getInputs())
      demandEqual(input, 0, concat.getResult(), 0);
  } else if (auto unpermute = llvm::dyn_cast<UnpermuteOp>(op)) {
    if (unpermute.getWeights())
      sameShape(unpermute.getIndex(), unpermute.getWeights());
  } else if (auto matmul = llvm::dyn_cast<MatmulOp>(op)) {
    demandEqual(matmul.getA(), 1, matmul.getB(), 1);
    if (matmul.getAccumulate())
      sameShape(matmul.getAccumulate(), matmul.getResult());
  } else if (auto grouped = llvm::dyn_cast<GroupedMatmulOp>(op)) {
    demandEqual(grouped.getA(), 1, grouped.getB(), 2);
  } else if (llvm::isa<GroupedWgradOp, BlockWgradOp>(op)) {
    auto wgrad = llvm::cast<ProductInterface>(op);
    demandEqual(turnedRows(wgrad.getLeft(), op), turnedRows(wgrad.getRight(), op));
    if (wgrad.getAddend())
      sameShape(wgrad.getAddend(), op->getResult(0));
  } else if (!llvm::isa<DimsInterface>(op) && op->getNumOperands() > 1) {
    for (Value operand : op->getOperands().drop_front())
      sameShape(op->getOperand(0), operand);
  }
}
