// Registration.
#include "dialects/hopper/IR/Hopper.h"

#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace vernier::hopper;

#include "dialects/hopper/IR/HopperDialect.cpp.inc"
#include "dialects/hopper/IR/HopperEnums.cpp.inc"

void HopperDialect::initialize() {
  registerAttributes();
  registerTypes();
  addOperations<
#define GET_OP_LIST
#include "dialects/hopper/IR/HopperOps.cpp.inc"
      >();
}
