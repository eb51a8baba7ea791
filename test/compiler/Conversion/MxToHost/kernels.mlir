// RUN: vernier-opt %s --convert-mx-to-host --canonicalize --cse | FileCheck %s

#fp8 = #mx.format<f8E4M3FN, 1x128, f8E8M0FNU, ceil>
#mxfp4 = #mx.format<f4E2M1FN, 1x32, f8E8M0FNU, floor>

func.func @f(%x: tensor<?x64xbf16>) -> tensor<?x64xf32> {
  %0 = mx.kernel @cast(%a = %x : tensor<?x64xbf16>) -> tensor<?x64xf32> {
    %y = arith.extf %a : tensor<?x64xbf16> to tensor<?x64xf32>
    mx.yield %y : tensor<?x64xf32>
  }
  return %0 : tensor<?x64xf32>
}

// CHECK-LABEL: func.func @cast(
// CHECK-SAME: %[[X:.+]]: memref<?x64xbf16>, %[[Y:.+]]: memref<?x64xf32>, %[[ROWS:.+]]: index, %[[BEGIN:.+]]: index, %[[END:.+]]: index)
// CHECK-SAME: vernier.sizes = [array<i64: 0, 0, 0, 1, 0>]
// CHECK: scf.for %[[ROW:.+]] = %[[BEGIN]] to %[[END]]
// CHECK-NEXT: %[[IN:.+]] = vector.load %[[X]][%[[ROW]], %{{.+}}] : memref<?x64xbf16>, vector<64xbf16>
// CHECK-NEXT: %[[OUT:.+]] = arith.extf %[[IN]] : vector<64xbf16> to vector<64xf32>
// CHECK-NEXT: vector.store %[[OUT]], %[[Y]][%[[ROW]], %{{.+}}] : memref<?x64xf32>, vector<64xf32>
// CHECK-LABEL: func.func @cast.tasks(
// CHECK-SAME: %[[ROWS:[^:]+]]: index) -> index
// CHECK-NEXT: return %[[ROWS]] : index

// Columns that fill no chunk are masked.
func.func @g(%x: tensor<?x70xf32>) -> tensor<?x70xf32> {
  %0 = mx.kernel @masked(%a = %x : tensor<?x70xf32>) -> tensor<?x70xf32> {
    %y = arith.negf %a : tensor<?x70xf32>
    mx.yield %y : tensor<?x70xf32>
  }
  return %0 : tensor<?x70xf32>
}

// CHECK-LABEL: func.func @masked(
// CHECK: vector.load %{{.+}} : memref<?x70xf32>, vector<64xf32>
// CHECK: vector.store
// CHECK: vector.maskedload
// CHECK: arith.negf
// CHECK: vector.maskedstore

// Codes and scales are two buffers; a transposed result goes through a tile of 512 rows (four blocks) and 64 columns.
func.func @h(%t: !mx.scaled<?x128, #mxfp4>) -> !mx.scaled<128x?, #fp8> {
  %0 = mx.kernel @turn(%a = %t : !mx.scaled<?x128, #mxfp4>) -> !mx.scaled<128x?, #fp8> {
    %y = mx.transpose %a : !mx.scaled<?x128, #mxfp4> -> !mx.scaled<128x?, #fp8>
    mx.yield %y : !mx.scaled<128x?, #fp8>
  }
  return %0 : !mx.scaled<128x?, #fp8>
}

// CHECK-LABEL: func.func @turn(
// CHECK-SAME: memref<?x64xi8>, %{{.+}}: memref<?x4xi8>, %[[OUT:.+]]: memref<128x?xi8>, %[[SCALES:.+]]: memref<128x?xi8>
// CHECK: memref.alloca() {{.*}} : memref<512x64xi8>
// CHECK: vector.shuffle
// CHECK: vector.store %{{.+}}, %[[OUT]]
// CHECK: memref.store %{{.+}}, %[[SCALES]]
// CHECK-LABEL: func.func @turn.tasks(

// A reduction along rows is a pass of its own before the pass that uses it.
func.func @i(%x: tensor<?x256xf32>) -> tensor<?x256xf32> {
  %0 = mx.kernel @norm(%a = %x : tensor<?x256xf32>) -> tensor<?x256xf32> {
    %m = mx.reduce max %a axis 1 : tensor<?x256xf32> -> tensor<?xf32>
    %b = mx.broadcast %m dims [0] like %a : tensor<?xf32>, tensor<?x256xf32> -> tensor<?x256xf32>
    %y = arith.divf %a, %b : tensor<?x256xf32>
    mx.yield %y : tensor<?x256xf32>
  }
  return %0 : tensor<?x256xf32>
}

// CHECK-LABEL: func.func @norm(
// CHECK: arith.maximumf
// CHECK: vector.extract
// CHECK: arith.divf

// A reduction over all rows walks down a range of columns.
func.func @j(%x: tensor<?x256xf32>) -> tensor<256xf32> {
  %0 = mx.kernel @down(%a = %x : tensor<?x256xf32>) -> tensor<256xf32> {
    %m = mx.reduce sum %a axis 0 : tensor<?x256xf32> -> tensor<256xf32>
    mx.yield %m : tensor<256xf32>
  }
  return %0 : tensor<256xf32>
}

// CHECK-LABEL: func.func @down(
// CHECK-SAME: vernier.sizes = [array<i64: 0, 0, 0, 1, 0>, array<i64: -1, 0, 256, 1, 0>]
// CHECK: scf.for {{.*}} iter_args(%{{.+}} = %{{.+}}) -> (vector<64xf32>)
// CHECK: arith.addf

// Products: FP32 sums of sixteen register columns, promoted every block.
func.func @k(%x: !mx.scaled<?x256, #fp8>, %w: !mx.scaled<512x256, #fp8>) -> tensor<?x512xbf16> {
  %0 = mx.kernel @product(%a = %x : !mx.scaled<?x256, #fp8>, %b = %w : !mx.scaled<512x256, #fp8>) -> tensor<?x512xbf16> {
    %y = mx.matmul %a, %b : !mx.scaled<?x256, #fp8>, !mx.scaled<512x256, #fp8> -> tensor<?x512xbf16>
    mx.yield %y : tensor<?x512xbf16>
  }
  return %0 : tensor<?x512xbf16>
}

// CHECK-LABEL: func.func @product(
// CHECK-COUNT-16: math.fma {{.*}} : vector<16xf32>
// CHECK-NOT: math.fma
