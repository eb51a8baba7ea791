// Registration.
#include "dialects/mx/IR/Mx.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace vernier::mx;

#include "dialects/mx/IR/MxDialect.cpp.inc"
#include "dialects/mx/IR/MxEnums.cpp.inc"

namespace {
/// Prints the common formats as #fp8, #mxfp4 and so on.
struct MxAsmInterface : OpAsmDialectInterface {
  using OpAsmDialectInterface::OpAsmDialectInterface;
  AliasResult getAlias(Attribute attr, raw_ostream &os) const final {
    auto format = llvm::dyn_cast<FormatAttr>(attr);
    if (!format)
      return AliasResult::NoAlias;
    bool fp4 = format.isPacked();
    int64_t rows = format.getBlockRows(), cols = format.getBlockCols(), longest = std::max(rows, cols);
    if (format.hasTensorScale())
      os << "nvfp4";
    else if (fp4)
      os << "mxfp4";
    else
      os << (longest == 32 ? "mxfp8" : "fp8");
    int64_t usual = format.hasTensorScale() ? 16 : (fp4 ? 32 : (longest == 32 ? 32 : 128));
    if (rows > 1 && cols > 1)
      os << "_block";
    else if (rows > 1)
      os << "_column";
    if (rows > 1 && cols > 1 && rows != cols)
      os << "_" << rows << "x" << cols;
    else if (longest != usual)
      os << "_" << longest;
    ScaleRule defaultRule = format.hasTensorScale()   ? ScaleRule::Nearest
                            : (!fp4 && longest != 32) ? ScaleRule::Ceil
                                                      : ScaleRule::Floor;
    if (format.getRule() != defaultRule)
      os << "_" << stringifyScaleRule(format.getRule());
    return AliasResult::FinalAlias;
  }
};
} // namespace

void MxDialect::initialize() {
  addInterfaces<MxAsmInterface>();
  registerFormat();
  addOperations<
#define GET_OP_LIST
#include "dialects/mx/IR/MxOps.cpp.inc"
      >();
}

LogicalResult MxDialect::verifyOperationAttribute(Operation *op, NamedAttribute attribute) {
  if (attribute.getName() == kTensorCoreSums && !llvm::isa<UnitAttr>(attribute.getValue()))
    return op->emitError() << kTensorCoreSums << ": expected no value, but got " << attribute.getValue();
  if (attribute.getName() != kProductShape)
    return success();
  auto shape = llvm::dyn_cast<DictionaryAttr>(attribute.getValue());
  if (!shape)
    return op->emitError() << kProductShape << ": expected a dictionary, but got " << attribute.getValue();
  const struct {
    StringRef name;
    int64_t least, most;
    bool powers;
  } known[] = {{"warpgroups", 1, 2, true}, {"slabs", 1, 2, true},    {"cols", 32, 128, true},
               {"cluster", 1, 2, true},    {"stages", 2, 12, false}, {"band", 1, 64, false}};
  for (NamedAttribute entry : shape) {
    auto value = llvm::dyn_cast<IntegerAttr>(entry.getValue());
    auto *found = llvm::find_if(known, [&](const auto &one) { return one.name == entry.getName(); });
    if (!value || found == std::end(known))
      return op->emitError() << kProductShape
                             << ": expected numbers named warpgroups, slabs, cols, cluster, stages or band, but got "
                             << entry.getName();
    int64_t number = value.getInt();
    if (number < found->least || number > found->most || (found->powers && !llvm::isPowerOf2_64(uint64_t(number))))
      return op->emitError() << kProductShape << ": expected " << found->name << " to be "
                             << (found->powers ? "a power of two " : "") << "from " << found->least << " to " << found->most
                             << ", but got " << number;
  }
  return success();
}

#include "dialects/mx/IR/MxInterfaces.cpp.inc"

#define GET_OP_CLASSES
#include "dialects/mx/IR/MxOps.cpp.inc"
