// RUN: vernier-opt %s --pass-pipeline='builtin.module(func.func(hopper-pipeline-loads))' | FileCheck %s

// CHECK-LABEL: func.func @turn
// CHECK: %[[FIRST:.+]] = scf.if
// CHECK: hopper.load
// CHECK: else
// CHECK: arith.constant dense<0.000000e+00>
// CHECK: scf.for %[[I:.+]] = {{.+}} iter_args(%[[X:.+]] = %[[FIRST]])
// CHECK: %[[NEXT:.+]] = arith.addi %[[I]]
// CHECK: %[[AHEAD:.+]] = scf.if
// CHECK: hopper.rows %[[NEXT]]
// CHECK: hopper.load
// CHECK: hopper.store_transposed %[[X]] to
// CHECK: scf.yield %[[AHEAD]]
func.func @turn(%m: memref<?x128xf32>, %t: memref<128x?xf32>, %begin: index, %end: index, %step: index, %c: index)
    attributes {hopper.layout = #hopper.layout<32 x 128, threads = 8 x 32, vector = 4, rowGroup = 1>} {
  scf.for %i = %begin to %end step %step {
    %r = hopper.rows %i : vector<32x1xi32>
    %x = hopper.load %m rows %r cols %c alignment 4 : memref<?x128xf32>, vector<32x1xi32> -> vector<32x128xf32>
    hopper.store_transposed %x to %t at %c, %i stride %end shared 0 padding 0 alone : vector<32x128xf32>, memref<128x?xf32>
  }
  return
}

// Nothing waits here: other blocks hide the loads.
// CHECK-LABEL: func.func @copy
// CHECK: scf.for
// CHECK-NOT: iter_args
func.func @copy(%m: memref<?x128xf32>, %t: memref<?x128xf32>, %begin: index, %end: index, %step: index, %c: index)
    attributes {hopper.layout = #hopper.layout<32 x 128, threads = 8 x 32, vector = 4, rowGroup = 1>} {
  scf.for %i = %begin to %end step %step {
    %r = hopper.rows %i : vector<32x1xi32>
    %x = hopper.load %m rows %r cols %c alignment 4 : memref<?x128xf32>, vector<32x1xi32> -> vector<32x128xf32>
    hopper.store %x to %t rows %r cols %c alignment 4 : vector<32x128xf32>, memref<?x128xf32>, vector<32x1xi32>
  }
  return
}
