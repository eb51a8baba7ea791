// One list of all the operations; each kind has its own file.
#ifndef VERNIER_MX_OPS
#define VERNIER_MX_OPS

include "dialects/mx/IR/MxConversionOps.td"
include "dialects/mx/IR/MxMovementOps.td"
include "dialects/mx/IR/MxRowOps.td"
include "dialects/mx/IR/MxProductOps.td"
include "dialects/mx/IR/MxKernelOps.td"

#endif
