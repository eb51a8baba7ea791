// Passes of the host target, phase by phase.
#ifndef VERNIER_COMPILER_PIPELINES_HOSTPIPELINE_H
#define VERNIER_COMPILER_PIPELINES_HOSTPIPELINE_H

#include "compiler/Pipelines/Phases.h"

namespace vernier {
void buildFused(mlir::OpPassManager &manager, const PipelineOptions &options);
void buildLoops(mlir::OpPassManager &manager, const PipelineOptions &options);
void buildLLVM(mlir::OpPassManager &manager, const PipelineOptions &options);
} // namespace vernier

#endif
