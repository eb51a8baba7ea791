// RUN: vernier-opt %s --pass-pipeline='builtin.module(func.func(hopper-unroll-ring))' | FileCheck %s

// Two slots an iteration, the first iteration apart.
// CHECK-LABEL: func.func @even
// CHECK: %[[STEP:.+]] = arith.constant 256 : index
// CHECK-COUNT-2: hopper.await
// CHECK: scf.for {{.+}} step %[[STEP]] iter_args({{.+}} = %{{.+}})
// CHECK-COUNT-2: hopper.await
// CHECK-NOT: hopper.await
func.func @even(%zero: vector<128x128xf32>) {
  %c0 = arith.constant 0 : index
  %c128 = arith.constant 128 : index
  %end = arith.constant 1280 : index
  hopper.roles stages 4 bytes 32768 tiles 32768 shared 0 tiles {
    %e = hopper.acquire : index
  } scales {
    %e = hopper.acquire : index
  } compute {
    %r = scf.for %k = %c0 to %end step %c128 iter_args(%acc = %zero) -> vector<128x128xf32> {
      %s = hopper.await : index
      %a = hopper.staged %s at 0 : !hopper.staged<128 x 128 x f8E4M3FN>
      %b = hopper.staged %s at 16384 : !hopper.staged<128 x 128 x f8E4M3FN>
      %p = hopper.multiply %a depth 128, %b : !hopper.staged<128 x 128 x f8E4M3FN>, !hopper.staged<128 x 128 x f8E4M3FN> -> vector<128x128xf32>
      %q = hopper.multiply %a depth 128, %b : !hopper.staged<128 x 128 x f8E4M3FN>, !hopper.staged<128 x 128 x f8E4M3FN> -> vector<128x128xf32>
      hopper.release %s
      %both = arith.addf %p, %q : vector<128x128xf32>
      %sum = arith.addf %acc, %both : vector<128x128xf32>
      scf.yield %sum : vector<128x128xf32>
    }
  } finish {
  }
  return
}

// How often a loop goes round must be known,
// CHECK-LABEL: func.func @unknown
// CHECK-COUNT-1: hopper.await
// CHECK-NOT: hopper.await
func.func @unknown(%end: index) {
  %c0 = arith.constant 0 : index
  %c128 = arith.constant 128 : index
  hopper.roles stages 4 bytes 32768 tiles 32768 shared 0 tiles {
    %e = hopper.acquire : index
  } scales {
    %e = hopper.acquire : index
  } compute {
    scf.for %k = %c0 to %end step %c128 {
      %s = hopper.await : index
      %a = hopper.staged %s at 0 : !hopper.staged<128 x 128 x f8E4M3FN>
      %b = hopper.staged %s at 16384 : !hopper.staged<128 x 128 x f8E4M3FN>
      %p = hopper.multiply %a depth 128, %b : !hopper.staged<128 x 128 x f8E4M3FN>, !hopper.staged<128 x 128 x f8E4M3FN> -> vector<128x128xf32>
      %q = hopper.multiply %a depth 128, %b : !hopper.staged<128 x 128 x f8E4M3FN>, !hopper.staged<128 x 128 x f8E4M3FN> -> vector<128x128xf32>
      hopper.release %s
    }
  } finish {
  }
  return
}

// and a multiple of two,
// CHECK-LABEL: func.func @odd
// CHECK-COUNT-1: hopper.await
// CHECK-NOT: hopper.await
func.func @odd() {
  %c0 = arith.constant 0 : index
  %c128 = arith.constant 128 : index
  %end = arith.constant 1152 : index
  hopper.roles stages 4 bytes 32768 tiles 32768 shared 0 tiles {
    %e = hopper.acquire : index
  } scales {
    %e = hopper.acquire : index
  } compute {
    scf.for %k = %c0 to %end step %c128 {
      %s = hopper.await : index
      %a = hopper.staged %s at 0 : !hopper.staged<128 x 128 x f8E4M3FN>
      %b = hopper.staged %s at 16384 : !hopper.staged<128 x 128 x f8E4M3FN>
      %p = hopper.multiply %a depth 128, %b : !hopper.staged<128 x 128 x f8E4M3FN>, !hopper.staged<128 x 128 x f8E4M3FN> -> vector<128x128xf32>
      %q = hopper.multiply %a depth 128, %b : !hopper.staged<128 x 128 x f8E4M3FN>, !hopper.staged<128 x 128 x f8E4M3FN> -> vector<128x128xf32>
      hopper.release %s
    }
  } finish {
  }
  return
}

// and more than four: what is left behind the first iteration must be a loop that runs more than once.
// CHECK-LABEL: func.func @four
// CHECK: scf.for
// CHECK-COUNT-1: hopper.await
// CHECK-NOT: hopper.await
func.func @four() {
  %c0 = arith.constant 0 : index
  %c128 = arith.constant 128 : index
  %end = arith.constant 512 : index
  hopper.roles stages 4 bytes 32768 tiles 32768 shared 0 tiles {
    %e = hopper.acquire : index
  } scales {
    %e = hopper.acquire : index
  } compute {
    scf.for %k = %c0 to %end step %c128 {
      %s = hopper.await : index
      %a = hopper.staged %s at 0 : !hopper.staged<128 x 128 x f8E4M3FN>
      %b = hopper.staged %s at 16384 : !hopper.staged<128 x 128 x f8E4M3FN>
      %p = hopper.multiply %a depth 128, %b : !hopper.staged<128 x 128 x f8E4M3FN>, !hopper.staged<128 x 128 x f8E4M3FN> -> vector<128x128xf32>
      %q = hopper.multiply %a depth 128, %b : !hopper.staged<128 x 128 x f8E4M3FN>, !hopper.staged<128 x 128 x f8E4M3FN> -> vector<128x128xf32>
      hopper.release %s
    }
  } finish {
  }
  return
}

// One product a slot: those of several slots are begun, as many as a quarter of the ring, before the first is awaited.
// CHECK-LABEL: func.func @alone
// CHECK: scf.for
// CHECK: hopper.await :
// CHECK: %[[FIRST:.+]] = hopper.begin_product
// CHECK: hopper.await :
// CHECK-COUNT-1: hopper.begin_product
// CHECK-NOT: hopper.begin_product
// CHECK: %[[P:.+]] = hopper.await_product %[[FIRST]] leaving 1
// CHECK: hopper.release
// CHECK: arith.addf %{{.+}}, %[[P]]
// CHECK: hopper.await_product %{{.+}} leaving 0
// CHECK: hopper.release
// CHECK: scf.yield
func.func @alone(%zero: vector<128x64xf32>) attributes {hopper.layout = #hopper.layout<128 x 64, threads = 64 x 4, vector = 2, rowGroup = 1, adjacent = 8>} {
  %c0 = arith.constant 0 : index
  %c128 = arith.constant 128 : index
  %end = arith.constant 1280 : index
  hopper.roles stages 8 bytes 24576 tiles 24576 shared 0 tiles {
    %e = hopper.acquire : index
  } scales {
    %e = hopper.acquire : index
  } compute {
    %r = scf.for %k = %c0 to %end step %c128 iter_args(%acc = %zero) -> vector<128x64xf32> {
      %s = hopper.await : index
      %a = hopper.staged %s at 0 : !hopper.staged<128 x 128 x f8E4M3FN>
      %b = hopper.staged %s at 16384 : !hopper.staged<64 x 128 x f8E4M3FN>
      %p = hopper.multiply %a depth 128, %b : !hopper.staged<128 x 128 x f8E4M3FN>, !hopper.staged<64 x 128 x f8E4M3FN> -> vector<128x64xf32>
      hopper.release %s
      %sum = arith.addf %acc, %p : vector<128x64xf32>
      scf.yield %sum : vector<128x64xf32>
    }
  } finish {
  }
  return
}
