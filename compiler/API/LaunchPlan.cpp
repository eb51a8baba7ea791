#include "compiler/API/LaunchPlan.h"

#include "dialects/hopper/IR/Hopper.h"
#include "dialects/mx/Analysis/KernelPlan.h"
#include "dialects/mx/Analysis/Storage.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace vernier;

/// A size that is no part of another.
static runtime::SizeTerm termOf(const mx::Size &size) {
  assert(!size.isPart());
  runtime::SizeTerm term;
  term.argument = size.argument;
  term.dim = size.dim;
  term.constant = size.constant;
  term.roundUps.assign(size.roundUps.begin(), size.roundUps.end());
  return term;
}

static runtime::SizeTerm constantTerm(int64_t value) {
  runtime::SizeTerm term;
  term.constant = value;
  return term;
}

static runtime::SizeExpr exprOf(mx::Size size) {
  int64_t divisor = std::exchange(size.divisor, 1), plus = std::exchange(size.plus, 0);
  runtime::SizeExpr expr{{termOf(size)}};
  expr.terms[0].divisor = divisor;
  expr.terms[0].roundDown = divisor != 1;
  if (plus)
    expr.terms.push_back(constantTerm(plus));
  return expr;
}

static std::string nameOf(Type type) {
  std::string text;
  llvm::raw_string_ostream os(text);
  if (auto scaled = llvm::dyn_cast<mx::ScaledType>(type)) {
    mx::FormatAttr format = scaled.getFormat();
    os << format.getElement() << ":" << format.getBlockRows() << "x" << format.getBlockCols() << ":" << format.getScale() << ":"
       << stringifyScaleRule(format.getRule()) << (scaled.getGrouped() ? ":grouped" : "");
  } else {
    os << llvm::cast<RankedTensorType>(type).getElementType();
  }
  return text;
}

namespace {
class Describer {
public:
  Describer(func::FuncOp function, ModuleOp lowered, runtime::Artifact &artifact)
      : function(function), lowered(lowered), artifact(artifact), sizes(function) {}

  LogicalResult run() {
    for (auto [i, argument] : llvm::enumerate(function.getArguments())) {
      if (auto scaled = llvm::dyn_cast<mx::ScaledType>(argument.getType()); scaled && scaled.getGrouped())
        return function.emitError() << "argument " << i << " is a grouped transpose, which nothing here reads";
      runtime::ValueSpec spec{nameOf(argument.getType()), {}, buffersFor(argument, runtime::BufferSpec::Argument)};
      for (auto [dim, size] : llvm::enumerate(mx::shapeOf(argument.getType()))) {
        mx::Size own{int(i), unsigned(dim), 0, {}};
        spec.shape.push_back({{termOf(ShapedType::isDynamic(size) ? own : mx::Size::fixed(size))}});
      }
      artifact.arguments.push_back(std::move(spec));
    }
    Operation *terminator = function.getBody().front().getTerminator();
    for (Value result : terminator->getOperands()) {
      runtime::ValueSpec spec{nameOf(result.getType()), {}, {}};
      if (buffers.contains(result)) // an argument, or returned already
        spec.buffers = copiesOf(result);
      else
        spec.buffers = buffersFor(result, runtime::BufferSpec::Result);
      for (unsigned dim = 0; dim < mx::shapeOf(result.getType()).size(); ++dim)
        spec.shape.push_back(exprOf(sizes.get(result, dim)));
      artifact.results.push_back(std::move(spec));
    }
    for (Operation &op : function.getBody().front().without_terminator()) {
      describe(llvm::cast<mx::KernelOp>(op));
      findInPlace(llvm::cast<mx::KernelOp>(op));
    }
    for (const auto &equality : sizes.equalities()) {
      runtime::CheckSpec check;
      check.left = exprOf(equality.left);
      check.right = exprOf(equality.right);
      artifact.checks.push_back(std::move(check));
    }
    return success();
  }

private:
  std::vector<int> buffersFor(Value value, runtime::BufferSpec::Kind kind) {
    auto &known = buffers[value];
    if (!known.empty())
      return known;
    for (const mx::Buffer &buffer : mx::buffersOf(value.getType())) {
      runtime::BufferSpec spec;
      spec.kind = kind;
      llvm::raw_string_ostream(spec.element) << buffer.element;
      for (const mx::BufferDim &dim : buffer.dims)
        spec.shape.push_back(sizeOf(value, dim));
      known.push_back(int(artifact.buffers.size()));
      artifact.buffers.push_back(std::move(spec));
    }
    return known;
  }

  std::vector<int> copiesOf(Value value) {
    std::vector<int> copies;
    for (int from : std::vector<int>(buffers[value])) {
      runtime::BufferSpec spec = artifact.buffers[from];
      spec.kind = runtime::BufferSpec::Result;
      int to = int(artifact.buffers.size());
      artifact.buffers.push_back(std::move(spec));
      artifact.copies.push_back({from, to});
      copies.push_back(to);
    }
    return copies;
  }

  runtime::SizeExpr sizeOf(Value value, const mx::BufferDim &dim) {
    mx::Size size = sizes.get(value, dim.dim);
    if (dim.divisor == 1 && !dim.grouped)
      return exprOf(size);
    runtime::SizeTerm term = termOf(size);
    term.divisor = dim.divisor;
    if (!dim.grouped)
      return {{term}};
    // One spare block for each group: floor(rows / 128) + offsets - 1.
    term.roundDown = true;
    return {{term, termOf(sizes.get(groupOffsets(value), 0)), constantTerm(-1)}};
  }

  Value groupOffsets(Value value) {
    auto kernel = value.getDefiningOp<mx::KernelOp>();
    Value inner = kernel.getBody().front().getTerminator()->getOperand(llvm::cast<OpResult>(value).getResultNumber());
    auto offsets = llvm::cast<BlockArgument>(inner.getDefiningOp<mx::TransposeOp>().getOffsets());
    return kernel.getOperand(offsets.getArgNumber());
  }

  void describe(mx::KernelOp kernel) {
    runtime::KernelSpec spec;
    spec.name = kernel.getName().str();
    for (auto [operand, argument] : llvm::zip(kernel.getOperands(), kernel.getBody().getArguments())) {
      std::vector<int> mine = buffersFor(operand, runtime::BufferSpec::Temporary);
      spec.buffers.insert(spec.buffers.end(), mine.begin(), mine.end());
      bool read = llvm::any_of(argument.getUses(), [](OpOperand &use) {
        auto broadcast = llvm::dyn_cast<mx::BroadcastOp>(use.getOwner());
        return !broadcast || use.getOperandNumber() != 1;
      });
      if (read)
        spec.reads.insert(spec.reads.end(), mine.begin(), mine.end());
    }
    for (Value result : kernel.getResults()) {
      std::vector<int> mine = buffersFor(result, runtime::BufferSpec::Temporary);
      spec.buffers.insert(spec.buffers.end(), mine.begin(), mine.end());
      spec.writes.insert(spec.writes.end(), mine.begin(), mine.end());
    }
    spec.rowsOf = rowsOf(kernel, spec.buffers);
    auto usual = lowered.lookupSymbol<func::FuncOp>(kernel.getName());
    addLaunch(kernel, usual, spec);
    for (func::FuncOp function : lowered.getOps<func::FuncOp>())
      if (auto other = function->getAttrOfType<FlatSymbolRefAttr>(hopper::kInsteadOf);
          other && other.getAttr() == usual.getNameAttr())
        addLaunch(kernel, function, spec);
    for (Operation &op : kernel.getBody().front().without_terminator()) {
      std::string name = op.getName().getStringRef().str();
      if (auto reencoding = llvm::dyn_cast<mx::ReencodingInterface>(op);
          reencoding && llvm::isa<mx::ScaledType>(op.getResult(0).getType()))
        name += reencoding.isExact() ? " (exact)" : " (exact within the lossless window)";
      spec.operations.push_back(name);
      addValueChecks(kernel, op);
    }
    if (ArrayAttr reasons = kernel.getReasonsAttr())
      for (Attribute reason : reasons)
        spec.reasons.push_back(llvm::cast<StringAttr>(reason).str());
    artifact.kernels.push_back(std::move(spec));
  }

  /// The argument whose rows several launches of a kernel with these buffers may share out, or -1: what becomes of a row of a
  /// product must hang on nothing but that row, and nothing may be read or written at another.
  int rowsOf(mx::KernelOp kernel, const std::vector<int> &mine) {
    mx::ProductInterface product = mx::KernelOps::of(kernel).product();
    if (!product || product.getGroupOffsets() || product.getContraction() != mx::Contraction::Columns)
      return -1;
    mx::Size rows = sizes.get(product->getResult(0), 0);
    if (rows.isConstant() || rows.isPart() || !rows.roundUps.empty() || rows.dim != 0)
      return -1;
    for (Operation &op : kernel.getBody().front().without_terminator()) {
      auto quantize = llvm::dyn_cast<mx::QuantizeOp>(op);
      bool byRows = llvm::isa<arith::ArithDialect, math::MathDialect>(op.getDialect()) || (quantize && !quantize.getSeed()) ||
                    llvm::isa<mx::BroadcastOp, mx::SliceOp, mx::ConcatOp, mx::DequantizeOp, mx::RequantizeOp>(op);
      if (&op != product.getOperation() && !byRows)
        return -1;
    }
    auto walked = [&](Value value) { // rows of the call are rows of the value, or it has none of them
      for (unsigned d = 0, rank = mx::shapeOf(value.getType()).size(); d < rank; ++d) {
        mx::Size size = sizes.get(value, d);
        if (size.argument == rows.argument && size.dim == 0 && (d || !(size == rows)))
          return false;
      }
      return true;
    };
    // Nor may scales lie beside one another that are of different rows.
    auto hasRows = [&](const runtime::SizeExpr &size) {
      return llvm::any_of(size.terms,
                          [&](const runtime::SizeTerm &term) { return term.argument == rows.argument && term.dim == 0; });
    };
    auto stacked = [&](int buffer) {
      const std::vector<runtime::SizeExpr> &shape = artifact.buffers[size_t(buffer)].shape;
      return shape.empty() || std::none_of(shape.begin() + 1, shape.end(), hasRows);
    };
    bool all = llvm::all_of(kernel.getOperands(), walked) && llvm::all_of(kernel.getResults(), walked) &&
               llvm::all_of(mine, stacked) && !(sizes.get(product.getRight(), 0) == rows);
    return all ? rows.argument : -1;
  }

  void addLaunch(mx::KernelOp kernel, func::FuncOp function, runtime::KernelSpec &spec) {
    runtime::LaunchSpec &launch = spec.launches.emplace_back();
    launch.entry = function.getName().str();
    for (Attribute size : function->getAttrOfType<ArrayAttr>(hopper::kSizes))
      launch.sizes.push_back(exprOf(mx::decodeSize(llvm::cast<DenseI64ArrayAttr>(size))));
    describeTasks(function, launch);
    for (const hopper::TensorMap &map : hopper::tensorMapsOf(function)) {
      std::string element = "f8";
      if (!llvm::isa<Float8E4M3FNType>(map.tile.getElement())) {
        element.clear();
        llvm::raw_string_ostream(element) << map.tile.getElement();
      }
      launch.maps.push_back({spec.buffers[map.argument], int(map.tile.getRows()), element});
    }
    launch.schedule = scheduleOf(kernel, function);
  }

  /// What sums are added to may be where they are stored: every tile reads its own part, once, before it stores it.
  void findInPlace(mx::KernelOp kernel) {
    mx::ProductInterface product = mx::KernelOps::of(kernel).product();
    auto addend = product ? llvm::dyn_cast_or_null<BlockArgument>(product.getAddend()) : BlockArgument();
    auto outer = addend ? llvm::dyn_cast<BlockArgument>(kernel.getOperand(addend.getArgNumber())) : BlockArgument();
    if (!outer || !outer.hasOneUse() || !addend.hasOneUse())
      return;
    for (auto [inner, result] : llvm::zip(kernel.getBody().front().getTerminator()->getOperands(), kernel.getResults()))
      if (inner == product->getResult(0) && inner.getType() == addend.getType())
        for (auto [from, to] : llvm::zip(buffers[outer], buffers[result]))
          artifact.inPlace.push_back({from, to});
  }

  static runtime::SizeTerm decodeTerm(Attribute attribute) {
    return termOf(mx::decodeSize(llvm::cast<DenseI64ArrayAttr>(attribute)));
  }

  static void describeTasks(func::FuncOp function, runtime::LaunchSpec &launch) {
    auto layout = function->getAttrOfType<hopper::LayoutAttr>(hopper::kLayout);
    if (!layout)
      return;
    launch.threads = int(hopper::threadsOf(function));
    launch.cluster = int(hopper::clusterOf(function));
    if (auto waves = function->getAttrOfType<IntegerAttr>(hopper::kWaves))
      launch.waves = int(waves.getInt());
    launch.sharedBytes = function->getAttrOfType<IntegerAttr>(hopper::kShared).getInt();
    if (auto pieces = function->getAttrOfType<IntegerAttr>(hopper::kPieces))
      launch.pieces = int(pieces.getInt());
    if (auto costs = function->getAttrOfType<DenseI64ArrayAttr>(hopper::kCost))
      launch.cost = costs[0], launch.pieceCost = costs[1];
    for (Attribute factor : function->getAttrOfType<ArrayAttr>(hopper::kTasks)) {
      runtime::SizeExpr sum;
      for (auto term : llvm::cast<ArrayAttr>(factor).getAsRange<DictionaryAttr>()) {
        runtime::SizeTerm size = decodeTerm(term.get("size"));
        size.divisor = term.getAs<IntegerAttr>("divisor").getInt();
        size.roundDown = term.getAs<BoolAttr>("down").getValue();
        sum.terms.push_back(std::move(size));
      }
      launch.tasks.push_back(std::move(sum));
    }
  }

  std::string scheduleOf(mx::KernelOp kernel, func::FuncOp function) {
    mx::PlanResult result = mx::planKernel(mx::KernelOps::of(kernel), sizes);
    const mx::KernelPlan &plan = *result.plan;
    if (plan.kind == mx::KernelKind::Product)
      return productSchedule(function);
    auto layout = function->getAttrOfType<hopper::LayoutAttr>(hopper::kLayout);
    std::string threads;
    if (layout)
      threads = " x " + std::to_string(layout.getCols()) + " columns on " + std::to_string(layout.getThreadRows()) + " x " +
                std::to_string(layout.getThreadCols()) + " threads";
    if (plan.kind == mx::KernelKind::Columns)
      return "down the columns of " + plan.rows.str() + " rows" +
             (layout ? ", " + std::to_string(layout.getRows()) + threads : "");
    std::string text =
        "tiles of " + std::to_string(layout ? layout.getRows() : plan.rowTile) + " of " + plan.rows.str() + " rows" + threads;
    if (plan.groupOffsets)
      text += ", anew with each group";
    unsigned passes = 1;
    for (auto &[op, stage] : plan.rowStage)
      passes = std::max(passes, stage + 1);
    if (passes > 1)
      text += ", " + std::to_string(passes) + " passes over a row";
    return text;
  }

  static std::string productSchedule(func::FuncOp function) {
    std::string text = "matrix product";
    function.walk([&](hopper::RolesOp roles) {
      roles.getCompute().walk([&](Operation *op) {
        if (!llvm::isa<hopper::MultiplyOp, hopper::BeginProductOp>(op))
          return WalkResult::advance();
        auto left = llvm::cast<hopper::StagedType>(op->getOperand(0).getType()),
             right = llvm::cast<hopper::StagedType>(op->getOperand(1).getType());
        text += " of tiles of " + std::to_string(left.getRows()) + " x " + std::to_string(right.getRows()) + " x " +
                std::to_string(left.getCols()) + ", " + std::to_string(roles.getStages()) + " stages";
        return WalkResult::interrupt();
      });
      if (roles.getMakeLayout())
        text += ", the left ones made by threads";
      if (int64_t cluster = hopper::clusterOf(function); cluster > 1)
        text += ", clusters of " + std::to_string(cluster);
    });
    return text;
  }

  /// Offsets and indices that come straight from an argument are checked before the call.
  void addValueChecks(mx::KernelOp kernel, Operation &op) {
    auto add = [&](runtime::CheckSpec::Kind kind, Value value, Value limitOf) {
      auto inner = llvm::dyn_cast_or_null<BlockArgument>(value);
      auto outer = inner ? llvm::dyn_cast<BlockArgument>(kernel.getOperand(inner.getArgNumber())) : BlockArgument();
      if (!outer)
        return;
      runtime::CheckSpec check;
      check.kind = kind;
      check.argument = int(outer.getArgNumber());
      check.left = {{termOf(sizes.get(limitOf, 0))}};
      artifact.checks.push_back(std::move(check));
    };
    if (auto transpose = llvm::dyn_cast<mx::TransposeOp>(op); transpose && transpose.getOffsets())
      add(runtime::CheckSpec::Offsets, transpose.getOffsets(), transpose.getInput());
    if (auto permute = llvm::dyn_cast<mx::PermuteOp>(op))
      add(runtime::CheckSpec::Index, permute.getIndex(), permute.getInput());
    if (auto unpermute = llvm::dyn_cast<mx::UnpermuteOp>(op))
      add(runtime::CheckSpec::Index, unpermute.getIndex(), unpermute.getInput());
    // Where operands were turned, what turned them has the check.
    if (auto product = llvm::dyn_cast<mx::ProductInterface>(op);
        product && product.getGroupOffsets() && product.getContraction() != mx::Contraction::Blocks) {
      add(runtime::CheckSpec::Offsets, product.getGroupOffsets(), product.getLeft());
      if (auto grouped = llvm::dyn_cast<mx::GroupedMatmulOp>(op))
        addGroupCount(grouped);
    }
  }

  /// One offset more than there are matrices, or two for each.
  void addGroupCount(mx::GroupedMatmulOp op) {
    runtime::CheckSpec check;
    runtime::SizeTerm matrices = termOf(sizes.get(op.getB(), 0));
    check.left = {{termOf(sizes.get(op.getOffsets(), 0))}};
    check.right = {{matrices, op.getSpans() ? matrices : constantTerm(1)}};
    artifact.checks.push_back(std::move(check));
  }

  func::FuncOp function;
  ModuleOp lowered;
  runtime::Artifact &artifact;
  mx::Sizes sizes;
  llvm::DenseMap<Value, std::vector<int>> buffers;
};
} // namespace

LogicalResult vernier::describeLaunch(ModuleOp fused, ModuleOp lowered, runtime::Artifact &artifact) {
  auto functions = fused.getOps<func::FuncOp>();
  if (!llvm::hasSingleElement(functions))
    return fused.emitError() << "expected a module of one function";
  func::FuncOp function = *functions.begin();
  artifact.name = function.getName().str();
  return Describer(function, lowered, artifact).run();
}
