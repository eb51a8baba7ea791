// Everything that a context or a tool of this compiler must know.
#ifndef VERNIER_COMPILER_PIPELINES_REGISTRATION_H
#define VERNIER_COMPILER_PIPELINES_REGISTRATION_H

namespace mlir {
class DialectRegistry;
}

namespace vernier {
/// Dialects, their interfaces and their translations to LLVM IR.
void registerDialects(mlir::DialectRegistry &registry);
/// The passes of this repository and the upstream ones that its pipelines use.
void registerPasses();
} // namespace vernier

#endif
