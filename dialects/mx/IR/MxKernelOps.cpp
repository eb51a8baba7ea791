// The kernel region: syntax and constraints.
#include "dialects/mx/IR/MxOps.h"

#include "mlir/IR/Builders.h"

using namespace mlir;
using namespace vernier::mx;

ParseResult KernelOp::parse(OpAsmParser &parser, OperationState &result) {
  StringAttr name;
  if (parser.parseSymbolName(name, getNameAttrName(result.name), result.attributes))
    return failure();
  SmallVector<OpAsmParser::Argument> arguments;
  SmallVector<OpAsmParser::UnresolvedOperand> operands;
  auto parseOne = [&]() -> ParseResult {
    OpAsmParser::Argument argument;
    OpAsmParser::UnresolvedOperand operand;
    if (parser.parseArgument(argument) || parser.parseEqual() || parser.parseOperand(operand) ||
        parser.parseColonType(argument.type))
      return failure();
    arguments.push_back(argument);
    operands.push_back(operand);
    return success();
  };
  SMLoc loc = parser.getCurrentLocation();
  SmallVector<Type> types;
  if (parser.parseCommaSeparatedList(OpAsmParser::Delimiter::Paren, parseOne) ||
      parser.parseOptionalAttrDictWithKeyword(result.attributes) || parser.parseOptionalArrowTypeList(types))
    return failure();
  SmallVector<Type> operandTypes;
  for (auto &argument : arguments)
    operandTypes.push_back(argument.type);
  if (parser.resolveOperands(operands, operandTypes, loc, result.operands))
    return failure();
  result.addTypes(types);
  Region *body = result.addRegion();
  if (parser.parseRegion(*body, arguments))
    return failure();
  return success();
}

void KernelOp::print(OpAsmPrinter &p) {
  p << " @" << getName() << "(";
  Block &block = getBody().front();
  llvm::interleaveComma(llvm::zip(block.getArguments(), getOperands()), p, [&](auto pair) {
    auto [argument, operand] = pair;
    p.printOperand(argument);
    p << " = ";
    p.printOperand(operand);
    p << " : " << operand.getType();
  });
  p << ")";
  p.printOptionalAttrDictWithKeyword((*this)->getAttrs(), {getNameAttrName()});
  p.printOptionalArrowTypeList(getResultTypes());
  p << " ";
  p.printRegion(getBody(), /*printEntryBlockArgs=*/false);
}

LogicalResult KernelOp::verify() {
  Block &block = getBody().front();
  if (block.getArgumentTypes() != getOperands().getTypes())
    return emitOpError() << "expected " << getNumOperands() << " block arguments of the operands' types, but got "
                         << block.getNumArguments();
  auto yield = llvm::cast<YieldOp>(block.getTerminator());
  if (yield.getOperandTypes() != getResultTypes())
    return emitOpError() << "expected to yield values of the " << getNumResults() << " results' types, but got "
                         << yield.getNumOperands();
  return success();
}
