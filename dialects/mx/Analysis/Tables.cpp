#include "dialects/mx/Analysis/Tables.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace vernier::mx;

static bool isDear(Operation *op) {
  return llvm::isa<SigmoidOp, math::ExpOp, math::LogOp, math::TanhOp, math::ErfcOp, math::PowFOp>(op);
}

static bool isMatrixOf(Value value, llvm::function_ref<bool(Type)> isElement) {
  auto type = llvm::dyn_cast<RankedTensorType>(value.getType());
  return type && type.getRank() == 2 && isElement(type.getElementType());
}

namespace {
class Search {
public:
  explicit Search(const KernelOps &kernel) : kernel(kernel) {
    for (Operation *op : kernel.ops)
      visit(op);
  }

  Tables run() {
    // Where a matrix has one such function that is used by what is none, that is the function; where it has several, the dear
    // part that they may share is, and the rest is computed.
    llvm::MapVector<Value, SmallVector<Value>> roots; // of each argument
    for (auto &[value, known] : functions)
      if (known.dear && leaves(value))
        roots[known.argument].push_back(value);
    for (auto &[argument, values] : roots) {
      if (values.size() == 1 && isF32(values.front()))
        add(values.front(), argument);
      else
        for (Value value : values)
          addParts(value, argument);
    }
    return std::move(tables);
  }

private:
  struct Function {
    Value argument;
    bool dear;
  };

  static bool isF32(Value value) {
    return isMatrixOf(value, [](Type type) { return type.isF32(); });
  }

  void visit(Operation *op) {
    if (!isElementwise(op) || op->getNumResults() != 1 || !isMatrixOf(op->getResult(0), [](Type) { return true; }))
      return;
    Value argument;
    bool dear = isDear(op);
    for (Value operand : op->getOperands()) {
      if (constantOf(operand))
        continue;
      auto known = functions.find(operand);
      Value of = known != functions.end()                                       ? known->second.argument
                 : isMatrixOf(operand, [](Type type) { return type.isBF16(); }) ? operand
                                                                                : Value();
      if (!of || (argument && argument != of))
        return;
      argument = of;
      dear |= known != functions.end() && known->second.dear;
    }
    if (argument)
      functions[op->getResult(0)] = {argument, dear};
  }

  /// The number that all elements are, or null.
  Attribute constantOf(Value value) const {
    if (!kernel.contains(value))
      return {};
    if (auto broadcast = value.getDefiningOp<BroadcastOp>())
      return constantOf(broadcast.getInput());
    auto constant = value.getDefiningOp<arith::ConstantOp>();
    auto splat = constant ? llvm::dyn_cast<SplatElementsAttr>(constant.getValue()) : SplatElementsAttr();
    return splat ? splat.getSplatValue<Attribute>() : Attribute();
  }

  /// Whether something else than functions of the same matrix needs the value.
  bool leaves(Value value) const {
    return llvm::is_contained(kernel.outputs, value) || llvm::any_of(value.getUsers(), [&](Operation *user) {
             return !kernel.ops.contains(user) || user->getNumResults() != 1 || !functions.contains(user->getResult(0));
           });
  }

  void addParts(Value value, Value argument) {
    auto known = functions.find(value);
    if (known == functions.end() || !known->second.dear)
      return;
    Operation *op = value.getDefiningOp();
    if (isDear(op) && isF32(value))
      return add(value, argument);
    for (Value operand : op->getOperands())
      addParts(operand, argument);
  }

  void add(Value value, Value argument) {
    if (tables.lookups.contains(value))
      return;
    constexpr unsigned most = 2; // what shared memory holds beside several blocks
    auto *same = llvm::find_if(tables.functions, [&](Value other) { return areSame(value, other); });
    unsigned number = unsigned(same - tables.functions.begin());
    if (same == tables.functions.end()) {
      if (number == most)
        return;
      tables.functions.push_back(value);
    }
    tables.lookups[value] = {argument, number};
  }

  bool areSame(Value a, Value c) const {
    auto known = functions.find(a), other = functions.find(c);
    if (known == functions.end() || other == functions.end()) // a constant, or the argument of its function
      return known == other && constantOf(a) == constantOf(c);
    Operation *left = a.getDefiningOp(), *right = c.getDefiningOp();
    return left->getName() == right->getName() && left->getAttrDictionary() == right->getAttrDictionary() &&
           getElementTypeOrSelf(a.getType()) == getElementTypeOrSelf(c.getType()) &&
           llvm::all_of(llvm::zip(left->getOperands(), right->getOperands()),
                        [&](auto pair) { return areSame(std::get<0>(pair), std::get<1>(pair)); });
  }

  const KernelOps &kernel;
  llvm::MapVector<Value, Function> functions;
  Tables tables;
};
} // namespace

Tables Tables::of(const KernelOps &kernel) { return Search(kernel).run(); }
