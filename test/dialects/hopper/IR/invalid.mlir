// RUN: vernier-opt %s --split-input-file --verify-diagnostics

// expected-error@+1 {{expected powers of two, but got 3}}
func.func private @powers() attributes {hopper.layout = #hopper.layout<8 x 1024, threads = 3 x 128, vector = 8, rowGroup = 1>}

// -----

// expected-error@+1 {{expected threads across times vector to divide 1024 columns, but got 256 * 8}}
func.func private @across() attributes {hopper.layout = #hopper.layout<8 x 1024, threads = 2 x 256, vector = 8, rowGroup = 1>}

// -----

// expected-error@+1 {{expected threads down times rowGroup to divide 8 rows, but got 4 * 4}}
func.func private @down() attributes {hopper.layout = #hopper.layout<8 x 1024, threads = 4 x 128, vector = 8, rowGroup = 4>}

// -----

func.func @address(%m: memref<?x64xf32>, %r: vector<8x1xi32>) {
  // expected-error@+1 {{expected 2 of rows and cols for 'memref<?x64xf32>', but got 1}}
  %x = hopper.load %m rows %r : memref<?x64xf32>, vector<8x1xi32> -> vector<8x64xf32>
  return
}

// -----

func.func @rows(%m: memref<?x64xf32>, %r: vector<4x1xi32>, %c: index) {
  // expected-error@+1 {{expected one row number a row of 'vector<8x64xf32>', but got 'vector<4x1xi32>'}}
  %x = hopper.load %m rows %r cols %c : memref<?x64xf32>, vector<4x1xi32> -> vector<8x64xf32>
  return
}

// -----

func.func @blocks(%x: vector<8x64xf32>) {
  // expected-error@+1 {{expected the shape of 'vector<8x64xf32>' to be a multiple of the shape of 'vector<3x1xi32>'}}
  %a = hopper.reduce amax %x : vector<8x64xf32> -> vector<3x1xi32>
  return
}

// -----

func.func @kind(%x: vector<8x64xf32>) {
  // expected-error@+1 {{expected a result of 'i32', but got 'vector<8x1xf32>'}}
  %a = hopper.reduce amax %x : vector<8x64xf32> -> vector<8x1xf32>
  return
}

// -----

func.func @elements(%x: vector<8x1xf32>) {
  // expected-error@+1 {{expected equal element types, but got 'vector<8x1xf32>' and 'vector<8x64xbf16>'}}
  %a = hopper.expand %x : vector<8x1xf32> -> vector<8x64xbf16>
  return
}

// -----

// expected-error@+1 {{expected at most 32 adjacent rows of threads, but got 64}}
func.func private @adjacent() attributes {hopper.layout = #hopper.layout<64 x 128, threads = 32 x 4, vector = 2, rowGroup = 1, adjacent = 64>}

// -----

func.func @row_bytes(%m: memref<?x64xi8>, %i: index) {
  // expected-error@+1 {{expected rows of 128 bytes, but got 64 of 'f8E4M3FN'}}
  %a = hopper.fetch %m[%i, %i] : memref<?x64xi8> -> !hopper.staged<64 x 64 x f8E4M3FN>
  return
}

// -----

func.func @depth(%a: !hopper.staged<64 x 128 x f8E4M3FN>, %b: !hopper.staged<128 x 128 x f8E4M3FN>) {
  // expected-error@+1 {{expected multiples of 32 of 128 columns, but got 48 from 0}}
  %p = hopper.multiply %a depth 48, %b : !hopper.staged<64 x 128 x f8E4M3FN>, !hopper.staged<128 x 128 x f8E4M3FN> -> vector<64x128xf32>
  return
}

// -----

func.func @begun(%a: !hopper.staged<64 x 128 x f8E4M3FN>, %b: !hopper.staged<128 x 128 x f8E4M3FN>) {
  // expected-error@+1 {{expected 64 x 128 results at most, but got '!hopper.sums<128 x 128>'}}
  %p = hopper.begin_product %a depth 128, %b : !hopper.staged<64 x 128 x f8E4M3FN>, !hopper.staged<128 x 128 x f8E4M3FN> -> !hopper.sums<128 x 128>
  return
}

// -----

func.func @awaited(%s: !hopper.sums<64 x 128>) {
  // expected-error@+1 {{expected the result of '!hopper.sums<64 x 128>', but got 'vector<64x64xf32>'}}
  %p = hopper.await_product %s leaving 0 : !hopper.sums<64 x 128> -> vector<64x64xf32>
  return
}

// -----

func.func @prefetch(%m: memref<?x64xf32>, %i: index) {
  // expected-error@+1 {{expected a staged tile, but got 'vector<64x32xf32>'}}
  hopper.prefetch %m[%i, %i] : memref<?x64xf32>, vector<64x32xf32>
  return
}

// -----

func.func @wide_offsets(%o: memref<?xi64>, %i: index) {
  // expected-error@+1 {{expected offsets of i32, but got 'memref<?xi64>'}}
  %g, %r, %n = hopper.group_tile %i of %o groups %i limit %i height 128 : memref<?xi64>
  return
}

// -----

func.func @no_height(%o: memref<?xi32>, %i: index) {
  // expected-error@+1 {{expected tiles of at least one row, but got 0}}
  %g, %r, %n = hopper.group_tile %i of %o groups %i limit %i height 0 : memref<?xi32>
  return
}

// -----

func.func @part_of_a_word(%m: memref<?x6xi8>, %i: index) {
  // expected-error@+1 {{expected known columns in words of 1, 2, 4 or 8 with 1 together, but got 4 of 'memref<?x6xi8>'}}
  %s = hopper.fetch_scales %m[%i, %i] limit %i height 1 blocks 1 word 4 : memref<?x6xi8> -> !hopper.scales<128>
  return
}

// -----

func.func @uneven_blocks(%m: memref<?x8xi8>, %i: index) {
  // expected-error@+1 {{expected scales of 1, 2, 4 or 8 columns, but got 3 in '!hopper.scales<128>'}}
  %s = hopper.fetch_scales %m[%i, %i] limit %i height 1 blocks 3 word 1 : memref<?x8xi8> -> !hopper.scales<128>
  return
}

// -----

func.func @wide_tile(%t: vector<128x128xf64>) {
  hopper.finish (%t : vector<128x128xf64>) together 1 buffers 1 layout <8 x 128, threads = 8 x 16, vector = 8, rowGroup = 1> {
  // expected-error@+1 {{expected bf16, f16 or f32, but got 'f64'}}
  ^bb0(%number: index, %tile: !hopper.passed<128 x 128 x f64>):
  }
  return
}

// -----

func.func @other_tiles_than_are_passed(%t: vector<128x128xf32>) {
  // expected-error@+1 {{expected a region that takes its number and 1 passed tiles}}
  hopper.finish (%t : vector<128x128xf32>) together 1 buffers 1 layout <8 x 128, threads = 8 x 16, vector = 8, rowGroup = 1> {
  ^bb0(%number: index, %tile: !hopper.passed<128 x 128 x bf16>):
  }
  return
}

// -----

func.func @too_many_threads_finish() {
  // expected-error@+1 {{expected a layout of 128 threads}}
  hopper.finish together 1 buffers 1 layout <16 x 128, threads = 16 x 16, vector = 8, rowGroup = 1> {
  ^bb0(%number: index):
  }
  return
}

// -----

func.func @rows_of_two_warpgroups(%t: !hopper.passed<128 x 128 x bf16>, %i: index) {
  // expected-error@+1 {{expected some of the 64 rows of a warpgroup}}
  %v = hopper.read_passed %t[%i] : !hopper.passed<128 x 128 x bf16> -> vector<128x128xbf16>
  return
}

// -----

func.func @unknown_columns_of_scales(%m: memref<?x?xi8>, %i: index) {
  // expected-error@+1 {{expected known columns in words of 1, 2, 4 or 8 with 1 together}}
  %s = hopper.fetch_scales %m[%i, %i] limit %i height 1 blocks 1 word 1 : memref<?x?xi8> -> !hopper.scales<128>
  return
}

// -----

func.func @rows_that_the_copy_engine_cannot_write(%t: !hopper.passed<128 x 128 x bf16>, %m: memref<?x100xbf16>, %i: index) {
  // expected-error@+1 {{expected rows of a known multiple of 16 bytes, but got 'memref<?x100xbf16>'}}
  hopper.copy_passed %t to %m[%i, %i] : !hopper.passed<128 x 128 x bf16>, memref<?x100xbf16>
  return
}

// -----

func.func @makers_of_other_columns() {
  // expected-error@+1 {{expected a layout of 128 threads over 128 columns, whose rows divide 256, but got #hopper.layout<16 x 64, threads = 16 x 8, vector = 8, rowGroup = 1>}}
  %t = hopper.make layout <16 x 64, threads = 16 x 8, vector = 8, rowGroup = 1> {
  ^bb0(%skipped: index):
    %codes = arith.constant dense<0.0> : vector<16x128xf8E4M3FN>
    hopper.made %codes : vector<16x128xf8E4M3FN>
  } : !hopper.staged<256 x 128 x f8E4M3FN>
  return
}

// -----

func.func @too_few_rows_made() {
  // expected-error@+1 {{expected 16 rows of '!hopper.staged<256 x 128 x f8E4M3FN>', but got 'vector<8x128xf8E4M3FN>'}}
  %t = hopper.make layout <16 x 128, threads = 16 x 8, vector = 16, rowGroup = 1> {
  ^bb0(%skipped: index):
    %codes = arith.constant dense<0.0> : vector<8x128xf8E4M3FN>
    hopper.made %codes : vector<8x128xf8E4M3FN>
  } : !hopper.staged<256 x 128 x f8E4M3FN>
  return
}

// -----

func.func @scales_that_are_not_made() {
  // expected-error@+1 {{expected 1 scales of its rows, but got 0}}
  %t, %s = hopper.make layout <16 x 128, threads = 16 x 8, vector = 16, rowGroup = 1> {
  ^bb0(%skipped: index):
    %codes = arith.constant dense<0.0> : vector<16x128xf8E4M3FN>
    hopper.made %codes : vector<16x128xf8E4M3FN>
  } : !hopper.staged<256 x 128 x f8E4M3FN>, !hopper.scales<256>
  return
}

// -----

func.func @scales_of_other_rows() {
  // expected-error@+1 {{expected scales of 16 rows that make '!hopper.scales<512>', but got 'vector<16x1xf32>'}}
  %t, %s = hopper.make layout <16 x 128, threads = 16 x 8, vector = 16, rowGroup = 1> {
  ^bb0(%skipped: index):
    %codes = arith.constant dense<0.0> : vector<16x128xf8E4M3FN>
    %ones = arith.constant dense<1.0> : vector<16x1xf32>
    hopper.made %codes, %ones : vector<16x128xf8E4M3FN>, vector<16x1xf32>
  } : !hopper.staged<256 x 128 x f8E4M3FN>, !hopper.scales<512>
  return
}

// -----

func.func @makers_without_a_row() {
  // expected-error@+1 {{expected a region that takes a row and ends in hopper.made}}
  %t = hopper.make layout <16 x 128, threads = 16 x 8, vector = 16, rowGroup = 1> {
    %codes = arith.constant dense<0.0> : vector<16x128xf8E4M3FN>
    hopper.made %codes : vector<16x128xf8E4M3FN>
  } : !hopper.staged<256 x 128 x f8E4M3FN>
  return
}

// -----

func.func @function_of_others(%worth: i1) {
  // expected-error@+1 {{expected a function of vector<1x1xbf16>, but got 'vector<1x1xf32>'}}
  %t = hopper.tabulate if %worth {
  ^bb0(%number: vector<1x1xf32>):
    hopper.tabulated %number : vector<1x1xf32>
  }
  return
}

// -----

func.func @function_to_others(%worth: i1) {
  // expected-error@+1 {{expected the body to yield vector<1x1xf32>}}
  %t = hopper.tabulate if %worth {
  ^bb0(%number: vector<1x1xbf16>):
    hopper.tabulated %number : vector<1x1xbf16>
  }
  return
}

// -----

func.func @function_of_neighbours(%worth: i1) {
  // expected-error@+1 {{expected elementwise operations and constants, but got hopper.reduce}}
  %t = hopper.tabulate if %worth {
  ^bb0(%number: vector<1x1xbf16>):
    %f = arith.extf %number : vector<1x1xbf16> to vector<1x1xf32>
    %r = hopper.reduce max %f : vector<1x1xf32> -> vector<1x1xf32>
    hopper.tabulated %r : vector<1x1xf32>
  }
  return
}

// -----

func.func @lookup_of_another_shape(%x: vector<64x128xbf16>, %t: !hopper.table) {
  // expected-error@+1 {{expected a result of the shape of 'vector<64x128xbf16>', but got 'vector<64x64xf32>'}}
  %y = hopper.lookup %x in %t : vector<64x128xbf16> -> vector<64x64xf32>
  return
}

// -----

func.func @gathered_rows(%s: vector<64x128xi8>, %m: memref<4096x256xi8>, %i: index, %last: i1) {
  // expected-error@+1 {{expected a power of two of rows, at most 32, but got 64}}
  hopper.store_gathered %s to %m at %i, %i from %i if %last : vector<64x128xi8>, memref<4096x256xi8>
  return
}

// -----

func.func @gathered_vector(%s: vector<2x128xi8>, %m: memref<256xi8>, %i: index, %last: i1) {
  // expected-error@+1 {{expected a memref of rank 2, but got 'memref<256xi8>'}}
  hopper.store_gathered %s to %m at %i, %i from %i if %last : vector<2x128xi8>, memref<256xi8>
  return
}
