// vernier-opt: runs passes on IR. Knows this repository's dialects and passes, and the upstream ones they use.
#include "compiler/Pipelines/Registration.h"
#include "mlir/IR/DialectRegistry.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  vernier::registerDialects(registry);
  vernier::registerPasses();
  return mlir::asMainReturnCode(mlir::MlirOptMain(argc, argv, "vernier optimiser driver\n", registry));
}
