// The format attribute and the scaled type: syntax, constraints and the limits of element types.
#include "dialects/mx/IR/Mx.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/APFloat.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace vernier::mx;

static ParseResult parseBlock(AsmParser &parser, int64_t &rows, int64_t &cols) {
  SmallVector<int64_t> dims;
  SMLoc loc = parser.getCurrentLocation();
  if (parser.parseDimensionList(dims, /*allowDynamic=*/false, /*withTrailingX=*/false))
    return failure();
  if (dims.size() != 2)
    return parser.emitError(loc) << "expected a block of rows x columns, such as 1x32";
  rows = dims[0];
  cols = dims[1];
  return success();
}
static void printBlock(AsmPrinter &printer, int64_t rows, int64_t cols) { printer << rows << "x" << cols; }

static ParseResult parseRule(AsmParser &parser, ScaleRule &rule) {
  StringRef word;
  SMLoc loc = parser.getCurrentLocation();
  if (parser.parseKeyword(&word))
    return failure();
  auto value = symbolizeScaleRule(word);
  if (!value)
    return parser.emitError(loc) << "expected a scale rule (floor, even, ceil or nearest), but got '" << word << "'";
  rule = *value;
  return success();
}
static void printRule(AsmPrinter &printer, ScaleRule rule) { printer << stringifyScaleRule(rule); }

static ParseResult parseDims(AsmParser &parser, SmallVectorImpl<int64_t> &dims) {
  return parser.parseDimensionList(dims, /*allowDynamic=*/true, /*withTrailingX=*/false);
}
static void printDims(AsmPrinter &printer, ArrayRef<int64_t> dims) { printer << shapeString(dims); }

static ParseResult parseGrouped(AsmParser &parser, bool &grouped) {
  grouped = false;
  if (succeeded(parser.parseOptionalComma())) {
    if (parser.parseKeyword("grouped"))
      return failure();
    grouped = true;
  }
  return success();
}
static void printGrouped(AsmPrinter &printer, bool grouped) {
  if (grouped)
    printer << ", grouped";
}

#define GET_ATTRDEF_CLASSES
#include "dialects/mx/IR/MxAttrs.cpp.inc"

#define GET_TYPEDEF_CLASSES
#include "dialects/mx/IR/MxTypes.cpp.inc"

void MxDialect::registerFormat() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "dialects/mx/IR/MxAttrs.cpp.inc"
      >();
  addTypes<
#define GET_TYPEDEF_LIST
#include "dialects/mx/IR/MxTypes.cpp.inc"
      >();
}

LogicalResult FormatAttr::verify(llvm::function_ref<InFlightDiagnostic()> emitError, Type element, int64_t blockRows,
                                 int64_t blockCols, Type scale, ScaleRule rule) {
  if (!llvm::isa<Float8E4M3FNType, Float4E2M1FNType>(element))
    return emitError() << "expected an element of f8E4M3FN or f4E2M1FN, but got " << element;
  if (!llvm::isa<Float8E8M0FNUType, Float8E4M3FNType>(scale))
    return emitError() << "expected a scale of f8E8M0FNU or f8E4M3FN, but got " << scale;
  for (int64_t side : {blockRows, blockCols})
    if (side < 1 || side > 128 || !llvm::isPowerOf2_64(side))
      return emitError() << "expected the sides of a block to be powers of two in [1, 128], but got " << blockRows << "x"
                         << blockCols;
  if (blockRows == 1 && blockCols == 1)
    return emitError() << "expected a block of more than one element, but got 1x1";
  bool relative = llvm::isa<Float8E4M3FNType>(scale);
  if (relative != (rule == ScaleRule::Nearest))
    return emitError() << "expected " << (relative ? "rule nearest" : "rule floor, even or ceil") << " with a scale of "
                       << scale << ", but got " << stringifyScaleRule(rule);
  if (relative && blockRows != 1)
    return emitError() << "expected blocks along rows (1xB) with a scale of f8E4M3FN, but got " << blockRows << "x"
                       << blockCols;
  return success();
}

FormatAttr FormatAttr::transposed() const {
  return FormatAttr::get(getContext(), getElement(), getBlockCols(), getBlockRows(), getScale(), getRule());
}

LogicalResult ScaledType::verify(llvm::function_ref<InFlightDiagnostic()> emitError, ArrayRef<int64_t> shape, FormatAttr format,
                                 bool grouped) {
  if (shape.size() != 2 && shape.size() != 3)
    return emitError() << "expected a scaled tensor of rank 2 or 3, but got rank " << shape.size();
  int64_t cols = shape.back();
  if (format.isPacked() && !ShapedType::isDynamic(cols) && cols % 2)
    return emitError() << "expected an even number of columns of a 4-bit element, but got " << cols << "; pad to " << cols + 1;
  return success();
}

ArrayRef<int64_t> vernier::mx::shapeOf(Type type) {
  if (auto scaled = llvm::dyn_cast<ScaledType>(type))
    return scaled.getShape();
  if (auto tensor = llvm::dyn_cast<RankedTensorType>(type))
    return tensor.getShape();
  return {};
}

std::string vernier::mx::shapeString(ArrayRef<int64_t> shape) {
  return llvm::join(llvm::map_range(shape, [](int64_t d) { return ShapedType::isDynamic(d) ? "?" : std::to_string(d); }), "x");
}

bool vernier::mx::compatible(int64_t a, int64_t b) { return ShapedType::isDynamic(a) || ShapedType::isDynamic(b) || a == b; }

bool vernier::mx::compatible(ArrayRef<int64_t> a, ArrayRef<int64_t> b) {
  return a.size() == b.size() &&
         llvm::all_of(llvm::zip(a, b), [](auto pair) { return compatible(std::get<0>(pair), std::get<1>(pair)); });
}

ElementLimits vernier::mx::limitsOf(Type element) {
  const auto &semantics = llvm::cast<FloatType>(element).getFloatSemantics();
  llvm::APFloat largest = llvm::APFloat::getLargest(semantics);
  ElementLimits limits;
  limits.maxExponent = llvm::APFloat::semanticsMaxExponent(semantics);
  limits.minExponent = llvm::APFloat::semanticsMinExponent(semantics);
  limits.mantissaBits = llvm::APFloat::semanticsPrecision(semantics) - 1;
  limits.maxCode = largest.bitcastToAPInt().getZExtValue();
  limits.hasNaN = llvm::APFloat::semanticsHasNaN(semantics);
  limits.max = largest.convertToDouble();
  return limits;
}

int vernier::mx::headroom(Type from, Type to) {
  double source = limitsOf(from).max, target = limitsOf(to).max;
  int shift = 0;
  while (source * 2 <= target) {
    source *= 2;
    ++shift;
  }
  return shift;
}
