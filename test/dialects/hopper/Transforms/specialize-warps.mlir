// RUN: vernier-opt %s --split-input-file --verify-diagnostics --pass-pipeline='builtin.module(func.func(hopper-specialize-warps,hopper-allocate-shared))' | FileCheck %s
// RUN: vernier-opt %s --split-input-file --verify-diagnostics --pass-pipeline='builtin.module(func.func(hopper-specialize-warps,hopper-pipeline-loads))' | FileCheck %s --check-prefix=AHEAD

// The sides that fetch get the loop, the branch and the arithmetic of their own addresses; the other gets the rest. Tiles lie
// before scales, and a slot ends at a multiple of 1024 bytes.
// CHECK-LABEL: func.func @product
// CHECK: hopper.roles stages 3 bytes 33792 tiles 32768 shared 0 tiles {
// CHECK: hopper.prefetch
// CHECK:   scf.for %[[K:.+]] =
// CHECK-NOT: iter_args
// CHECK:     scf.if
// CHECK:       %[[E:.+]] = hopper.acquire
// CHECK-NEXT:  hopper.copy %{{.+}}[%{{.+}}, %[[K]]] to %[[E]] at 0 : memref<?x4096xi8>
// CHECK-NEXT:  hopper.copy %{{.+}}[%{{.+}}, %[[K]]] to %[[E]] at 16384 : memref<?x4096xi8>
// CHECK-NOT: hopper.multiply
// CHECK: } scales {
// CHECK:   scf.for
// CHECK:       %[[H:.+]] = hopper.load_scales
// CHECK:       %[[E2:.+]] = hopper.acquire
// CHECK-NEXT:  hopper.put_scales %[[H]][%{{.+}}] blocks 1 to %[[E2]] at 32768
// CHECK-NEXT:  hopper.commit %[[E2]]
// CHECK-NOT: hopper.copy
// CHECK: } compute {
// CHECK-NOT: hopper.prefetch
// CHECK:   scf.for {{.+}} iter_args(%[[ACC:.+]] = %{{.+}})
// CHECK:     scf.if
// CHECK:       %[[F:.+]] = hopper.await
// CHECK:       %[[A:.+]] = hopper.staged %[[F]] at 0
// CHECK:       %[[B:.+]] = hopper.staged %[[F]] at 16384
// CHECK:       hopper.read_scales
// CHECK:       hopper.multiply %[[A]] depth 128, %[[B]]
// CHECK-NEXT:  hopper.release %[[F]]

// Scales wait behind tiles, and are read several iterations ahead.
// AHEAD-LABEL: func.func @product
// AHEAD: } scales {
// AHEAD: scf.for
// AHEAD: scf.if
func.func @product(%m: memref<?x4096xi8>, %s: memref<?x32xi8>, %row: index, %n: index, %last: i1, %out: memref<?x128xf32>)
    attributes {hopper.layout = #hopper.layout<128 x 128, threads = 64 x 4, vector = 2, rowGroup = 1, adjacent = 8>, hopper.stages = 3 : i64} {
  %c0 = arith.constant 0 : index
  %c128 = arith.constant 128 : index
  %zero = arith.constant dense<0.0> : vector<128x128xf32>
  hopper.prefetch %out[%row, %c0] : memref<?x128xf32>, !hopper.staged<128 x 32 x f32>
  %sum = scf.for %k = %c0 to %n step %c128 iter_args(%acc = %zero) -> vector<128x128xf32> {
    %next = scf.if %last -> vector<128x128xf32> {
      %scales = hopper.fetch_scales %s[%row, %k] limit %n height 1 blocks 1 word 1 : memref<?x32xi8> -> !hopper.scales<128>
      %a = hopper.fetch %m[%row, %k] : memref<?x4096xi8> -> !hopper.staged<128 x 128 x f8E4M3FN>
      %b = hopper.fetch %m[%n, %k] : memref<?x4096xi8> -> !hopper.staged<128 x 128 x f8E4M3FN>
      %v = hopper.read_scales %scales : !hopper.scales<128> -> vector<128x1xf32>
      %p = hopper.multiply %a depth 128, %b : !hopper.staged<128 x 128 x f8E4M3FN>, !hopper.staged<128 x 128 x f8E4M3FN> -> vector<128x128xf32>
      %e = hopper.expand %v : vector<128x1xf32> -> vector<128x128xf32>
      %f = math.fma %p, %e, %acc : vector<128x128xf32>
      scf.yield %f : vector<128x128xf32>
    } else {
      scf.yield %acc : vector<128x128xf32>
    }
    scf.yield %next : vector<128x128xf32>
  }
  %r = hopper.rows %row : vector<128x1xi32>
  hopper.store %sum to %out rows %r cols %c0 : vector<128x128xf32>, memref<?x128xf32>, vector<128x1xi32>
  return
}

// -----

// Scales that come in words: one serves several iterations, which become a loop of their own. A factor of each has words of its
// own, of one column an iteration.
// CHECK-LABEL: func.func @words
// CHECK: } scales {
// CHECK:   scf.for %[[K:.+]] = %{{.+}} to %{{.+}} step %c256
// CHECK:     %[[H:.+]] = hopper.load_scales {{.+}} whole : memref<?x128xi8> -> <128 x 8>
// CHECK:     %[[F:.+]] = hopper.load_scales {{.+}} whole : memref<?x32xi8> -> <1 x 2>
// CHECK:     scf.for %{{.+}} = %[[K]] to
// CHECK:       %[[E:.+]] = hopper.acquire
// CHECK:       hopper.put_scales %[[H]][%{{.+}}] blocks 4 times %[[F]][%{{.+}}] to %[[E]]
// CHECK-NEXT:  hopper.commit %[[E]]
// CHECK: } compute {

// The next words are loaded while these are written.
// AHEAD-LABEL: func.func @words
// AHEAD: } scales {
// AHEAD: %[[FIRST:.+]] = hopper.load_scales
// AHEAD: scf.for {{.+}} iter_args(%[[H:.+]] = %[[FIRST]],
// AHEAD:   %[[NEXT:.+]] = hopper.load_scales
// AHEAD:   scf.for
// AHEAD:     hopper.put_scales %[[H]]
// AHEAD:   scf.yield %[[NEXT]]
func.func @words(%m: memref<?x4096xi8>, %s: memref<?x128xi8>, %f: memref<?x32xi8>, %row: index, %n: index)
    attributes {hopper.layout = #hopper.layout<128 x 128, threads = 64 x 4, vector = 2, rowGroup = 1, adjacent = 8>, hopper.stages = 3 : i64} {
  %c0 = arith.constant 0 : index
  %c32 = arith.constant 32 : index
  %c128 = arith.constant 128 : index
  %c4096 = arith.constant 4096 : index
  scf.for %k = %c0 to %c4096 step %c128 {
    %col = arith.divui %k, %c32 : index
    %tile = arith.divui %k, %c128 : index
    %a = hopper.fetch %m[%row, %k] : memref<?x4096xi8> -> !hopper.staged<128 x 128 x f8E4M3FN>
    %scales = hopper.fetch_scales %s[%row, %col] limit %n height 1 blocks 4 word 8 times %f[%n, %tile] : memref<?x128xi8>, memref<?x32xi8> -> !hopper.scales<512>
    %v = hopper.read_scales %scales from 256 : !hopper.scales<512> -> vector<128x1xf32>
  }
  return
}

// -----

// What a loop carries is not known ahead.
func.func @carried(%m: memref<?x4096xi8>, %row: index, %n: index)
    attributes {hopper.layout = #hopper.layout<64 x 64, threads = 32 x 4, vector = 2, rowGroup = 1, adjacent = 8>, hopper.stages = 3 : i64} {
  %c0 = arith.constant 0 : index
  %c128 = arith.constant 128 : index
  %end = scf.for %k = %c0 to %n step %c128 iter_args(%at = %row) -> index {
    // expected-error@+1 {{expected no need of values that a loop carries, to fetch ahead}}
    %a = hopper.fetch %m[%at, %k] : memref<?x4096xi8> -> !hopper.staged<64 x 128 x f8E4M3FN>
    %next = arith.addi %at, %c128 : index
    scf.yield %next : index
  }
  return
}

// -----

// What others finish: the sums are handed over piece by piece, each onto its part of the addend, which a side of its own brings
// ahead; the sides that finish and fill have the loop over them.
// CHECK-LABEL: func.func @finished
// CHECK: hopper.roles stages 2 bytes 32768 tiles 32768 passed 32768 buffers 3 layout <8 x 64
// CHECK: hopper.prefetch
// CHECK: } compute {
// CHECK: hopper.hand_over %{{.+}} adds %[[A:.+]] of 2 : vector<128x128xf32>
// CHECK: hopper.hand_over %{{.+}} adds %[[A]] piece 1 of 2 : vector<128x128xf32>
// CHECK: hopper.hand_over %{{.+}} adds %[[B:.+]] of 2 : vector<128x128xf32>
// CHECK: hopper.hand_over %{{.+}} adds %[[B]] piece 1 of 2 : vector<128x128xf32>
// CHECK-NOT: hopper.store
// CHECK: } finish {
// CHECK: scf.for
// CHECK: %[[T:.+]] = hopper.take : !hopper.passed<128 x 64 x f32>
// CHECK: hopper.read_passed %[[T]]
// CHECK: hopper.store
// CHECK: hopper.give_back
// CHECK: } fill {
// CHECK: scf.for %[[N:.+]] = %{{.+}} to %{{.+}} step
// CHECK: %[[TILE:.+]] = arith.divui %[[N]], %{{.+}}
// CHECK: arith.muli %[[TILE]], %{{.+}}
// CHECK: %[[PIECE:.+]] = arith.remui %[[N]], %{{.+}}
// CHECK: arith.muli %[[PIECE]], %{{.+}}
// CHECK: hopper.fill %{{.+}}[%{{.+}}, %{{.+}}] if %{{.+}} : memref<?x128xf32>, !hopper.passed<128 x 64 x f32>
func.func @finished(%m: memref<?x128xi8>, %row: index, %n: index, %acc: memref<?x128xf32>, %out: memref<?x128xf32>)
    attributes {hopper.layout = #hopper.layout<128 x 128, threads = 64 x 4, vector = 2, rowGroup = 1, adjacent = 8>, hopper.stages = 2 : i64} {
  %c0 = arith.constant 0 : index
  %a = hopper.fetch %m[%row, %c0] : memref<?x128xi8> -> !hopper.staged<128 x 128 x f8E4M3FN>
  %b = hopper.fetch %m[%n, %c0] : memref<?x128xi8> -> !hopper.staged<128 x 128 x f8E4M3FN>
  %p = hopper.multiply %a depth 128, %b : !hopper.staged<128 x 128 x f8E4M3FN>, !hopper.staged<128 x 128 x f8E4M3FN> -> vector<128x128xf32>
  hopper.prefetch %acc[%row, %c0] : memref<?x128xf32>, !hopper.staged<256 x 32 x f32>
  hopper.finish (%p, %p : vector<128x128xf32>, vector<128x128xf32>) onto %acc[%row, %c0] rows %n : memref<?x128xf32>
      together 1 pieces 2 buffers 3 layout <8 x 64, threads = 8 x 16, vector = 4, rowGroup = 1> {
  ^bb0(%number: index, %tile: !hopper.passed<128 x 64 x f32>):
    %v = hopper.read_passed %tile[%c0] : !hopper.passed<128 x 64 x f32> -> vector<8x64xf32>
    %r = hopper.rows %row : vector<8x1xi32>
    hopper.store %v to %out rows %r cols %c0 : vector<8x64xf32>, memref<?x128xf32>, vector<8x1xi32>
  }
  return
}

// -----

// Where threads make tiles, they are the side that fetches the others too: part by part of the rows, to the slot that a copy fills.
// CHECK-LABEL: func.func @made
// CHECK: hopper.roles stages 2 bytes 50176 tiles 16384 make <16 x 128, threads = 16 x 8, vector = 16, rowGroup = 1> shared 0 tiles {
// CHECK-NEXT: } scales {
// CHECK: scf.for %[[K:.+]] =
// CHECK: %[[SLOT:.+]] = hopper.acquire
// CHECK: hopper.copy %{{.+}}[%{{.+}}, %[[K]]] to %[[SLOT]] at 32768
// CHECK: scf.for %[[R:.+]] = %{{.+}} to %c256{{.*}} step %c16
// CHECK:   %[[T:.+]] = hopper.load
// CHECK:   hopper.put_made %[[T]][%[[R]]] to %[[SLOT]] at 0 : vector<16x128xf8E4M3FN>, !hopper.staged<256 x 128 x f8E4M3FN>
// CHECK:   hopper.put_made %{{.+}}[%[[R]]] to %[[SLOT]] at 49152 : vector<16x1xf32>, !hopper.scales<256>
// CHECK: hopper.commit %[[SLOT]]
// CHECK: } compute {
// CHECK-NOT: hopper.load
// CHECK: hopper.staged %{{.+}} at 0 : !hopper.staged<256 x 128 x f8E4M3FN>
// CHECK: hopper.staged %{{.+}} at 49152 : !hopper.scales<256>
func.func @made(%m: memref<?x4096xi8>, %w: memref<?x4096xi8>, %row: index, %n: index, %out: memref<?x128xf32>)
    attributes {hopper.layout = #hopper.layout<128 x 128, threads = 64 x 4, vector = 2, rowGroup = 1, adjacent = 8>, hopper.stages = 2 : i64} {
  %c0 = arith.constant 0 : index
  %c128 = arith.constant 128 : index
  %zero = arith.constant dense<0.0> : vector<128x128xf32>
  %sum = scf.for %k = %c0 to %n step %c128 iter_args(%acc = %zero) -> vector<128x128xf32> {
    %a, %scales = hopper.make layout <16 x 128, threads = 16 x 8, vector = 16, rowGroup = 1> {
    ^bb0(%skipped: index):
      %first = arith.addi %row, %skipped : index
      %rows = hopper.rows %first : vector<16x1xi32>
      %codes = hopper.load %m rows %rows cols %k alignment 16 : memref<?x4096xi8>, vector<16x1xi32> -> vector<16x128xf8E4M3FN>
      %ones = arith.constant dense<1.0> : vector<16x1xf32>
      hopper.made %codes, %ones : vector<16x128xf8E4M3FN>, vector<16x1xf32>
    } : !hopper.staged<256 x 128 x f8E4M3FN>, !hopper.scales<256>
    %b = hopper.fetch %w[%n, %k] : memref<?x4096xi8> -> !hopper.staged<128 x 128 x f8E4M3FN>
    %v = hopper.read_scales %scales : !hopper.scales<256> -> vector<128x1xf32>
    %p = hopper.multiply %a depth 128, %b : !hopper.staged<256 x 128 x f8E4M3FN>, !hopper.staged<128 x 128 x f8E4M3FN> -> vector<128x128xf32>
    %e = hopper.expand %v : vector<128x1xf32> -> vector<128x128xf32>
    %f = math.fma %p, %e, %acc : vector<128x128xf32>
    scf.yield %f : vector<128x128xf32>
  }
  %r = hopper.rows %row : vector<128x1xi32>
  hopper.store %sum to %out rows %r cols %c0 : vector<128x128xf32>, memref<?x128xf32>, vector<128x1xi32>
  return
}

// -----

// Of a tile, only rows that somebody looks at are copied, and waited for: here by two blocks, 64 rows each.
// CHECK-LABEL: func.func @few_rows
// CHECK: %[[LEFT:.+]] = arith.subi %c16, %{{.+}} : index
// CHECK: %[[LESS:.+]] = arith.muli %[[LEFT]], %c1024
// CHECK: %[[SLOT:.+]] = hopper.acquire less %[[LESS]] : index
// CHECK: hopper.copy %{{.+}}[%{{.+}}, %{{.+}}] to %[[SLOT]] at 0 rows %arg3 multicast : memref<?x4096xi8>
// CHECK: } compute {
func.func @few_rows(%m: memref<?x4096xi8>, %row: index, %n: index, %rows: index, %out: memref<?x128xf32>)
    attributes {hopper.cluster = 2 : i64, hopper.layout = #hopper.layout<128 x 128, threads = 64 x 4, vector = 2, rowGroup = 1, adjacent = 8>, hopper.stages = 3 : i64} {
  %c0 = arith.constant 0 : index
  %c128 = arith.constant 128 : index
  %zero = arith.constant dense<0.0> : vector<128x128xf32>
  %sum = scf.for %k = %c0 to %n step %c128 iter_args(%acc = %zero) -> vector<128x128xf32> {
    %a = hopper.fetch %m[%row, %k] rows %rows multicast : memref<?x4096xi8> -> !hopper.staged<128 x 128 x f8E4M3FN>
    %b = hopper.fetch %m[%n, %k] : memref<?x4096xi8> -> !hopper.staged<128 x 128 x f8E4M3FN>
    %p = hopper.multiply %a depth 128, %b : !hopper.staged<128 x 128 x f8E4M3FN>, !hopper.staged<128 x 128 x f8E4M3FN> -> vector<128x128xf32>
    %f = arith.addf %p, %acc : vector<128x128xf32>
    scf.yield %f : vector<128x128xf32>
  }
  %r = hopper.rows %row : vector<128x1xi32>
  hopper.store %sum to %out rows %r cols %c0 : vector<128x128xf32>, memref<?x128xf32>, vector<128x1xi32>
  return
}

// -----

func.func @share(%m: memref<?x4096xi8>, %row: index, %n: index, %rows: index)
    attributes {hopper.cluster = 2 : i64, hopper.layout = #hopper.layout<64 x 128, threads = 32 x 4, vector = 2, rowGroup = 1, adjacent = 8>, hopper.stages = 3 : i64} {
  %c0 = arith.constant 0 : index
  %c128 = arith.constant 128 : index
  scf.for %k = %c0 to %n step %c128 {
    // expected-error@+1 {{expected a block to fetch 64 rows at least of a tile with rows that nobody looks at, but got 32}}
    %a = hopper.fetch %m[%row, %k] rows %rows multicast : memref<?x4096xi8> -> !hopper.staged<64 x 128 x f8E4M3FN>
  }
  return
}
