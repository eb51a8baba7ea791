// RUN: vernier-opt %s --pass-pipeline='builtin.module(func.func(hopper-nest-reductions))' | FileCheck %s

// The finer one moves ahead of the coarser ones, which start from what is nearest to them.
// CHECK-LABEL: func.func @blocks
// CHECK: %[[FINE:.+]] = hopper.reduce amax %[[X:.+]] : vector<4x2048xbf16> -> vector<4x64xi32>
// CHECK: %[[COARSE:.+]] = hopper.reduce umax %[[FINE]] : vector<4x64xi32> -> vector<4x16xi32>
// CHECK: %[[ROW:.+]] = hopper.reduce umax %[[COARSE]] : vector<4x16xi32> -> vector<4x1xi32>
// CHECK: return %[[COARSE]], %[[FINE]], %[[ROW]]
func.func @blocks(%x: vector<4x2048xbf16>) -> (vector<4x16xi32>, vector<4x64xi32>, vector<4x1xi32>)
    attributes {hopper.layout = #hopper.layout<4 x 2048, threads = 1 x 256, vector = 8, rowGroup = 1>} {
  %a = hopper.reduce amax %x : vector<4x2048xbf16> -> vector<4x16xi32>
  %b = hopper.reduce amax %x : vector<4x2048xbf16> -> vector<4x64xi32>
  %c = hopper.reduce amax %x : vector<4x2048xbf16> -> vector<4x1xi32>
  return %a, %b, %c : vector<4x16xi32>, vector<4x64xi32>, vector<4x1xi32>
}

// In any order: here the coarsest comes first.
// CHECK-LABEL: func.func @backwards
// CHECK: %[[FINE:.+]] = hopper.reduce umax %[[X:.+]] : vector<4x2048xi32> -> vector<4x64xi32>
// CHECK: %[[COARSE:.+]] = hopper.reduce umax %[[FINE]] : vector<4x64xi32> -> vector<4x16xi32>
// CHECK: hopper.reduce umax %[[COARSE]] : vector<4x16xi32> -> vector<4x1xi32>
func.func @backwards(%x: vector<4x2048xi32>) -> (vector<4x1xi32>, vector<4x16xi32>, vector<4x64xi32>)
    attributes {hopper.layout = #hopper.layout<4 x 2048, threads = 1 x 256, vector = 8, rowGroup = 1>} {
  %c = hopper.reduce umax %x : vector<4x2048xi32> -> vector<4x1xi32>
  %b = hopper.reduce umax %x : vector<4x2048xi32> -> vector<4x16xi32>
  %a = hopper.reduce umax %x : vector<4x2048xi32> -> vector<4x64xi32>
  return %c, %b, %a : vector<4x1xi32>, vector<4x16xi32>, vector<4x64xi32>
}

// Sums have an order; blocks down columns are not made of blocks along rows.
// CHECK-LABEL: func.func @apart
// CHECK: hopper.reduce sum %[[X:.+]] : vector<128x128xf32> -> vector<128x1xf32>
// CHECK: hopper.reduce sum %[[X]] : vector<128x128xf32> -> vector<128x4xf32>
// CHECK: hopper.reduce amax %[[X]] : vector<128x128xf32> -> vector<1x128xi32>
// CHECK: hopper.reduce amax %[[X]] : vector<128x128xf32> -> vector<128x1xi32>
func.func @apart(%x: vector<128x128xf32>)
    -> (vector<128x1xf32>, vector<128x4xf32>, vector<1x128xi32>, vector<128x1xi32>)
    attributes {hopper.layout = #hopper.layout<128 x 128, threads = 16 x 16, vector = 8, rowGroup = 1>} {
  %a = hopper.reduce sum %x : vector<128x128xf32> -> vector<128x1xf32>
  %b = hopper.reduce sum %x : vector<128x128xf32> -> vector<128x4xf32>
  %c = hopper.reduce amax %x : vector<128x128xf32> -> vector<1x128xi32>
  %d = hopper.reduce amax %x : vector<128x128xf32> -> vector<128x1xi32>
  return %a, %b, %c, %d : vector<128x1xf32>, vector<128x4xf32>, vector<1x128xi32>, vector<128x1xi32>
}
