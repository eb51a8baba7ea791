// RUN: vernier-compile %s | FileCheck %s --check-prefix=KERNELS
// RUN: vernier-compile %s --run-host --rows 2 | FileCheck %s --check-prefix=HOST
// RUN: vernier-compile %s --run-host --rows 0 | FileCheck %s --check-prefix=EMPTY
// RUN: vernier-compile %s -o %t.o && llvm-nm %t.o | FileCheck %s --check-prefix=OBJECT
// RUN: not vernier-compile %s --until nowhere 2>&1 | FileCheck %s --check-prefix=PHASE
// RUN: not vernier-compile %s --from llvm --until fused 2>&1 | FileCheck %s --check-prefix=ORDER
// RUN: not vernier-compile %s --rows many 2>&1 | FileCheck %s --check-prefix=VALUE
// RUN: not vernier-compile %s --turbo 2>&1 | FileCheck %s --check-prefix=OPTION
// RUN: not vernier-compile %s.missing 2>&1 | FileCheck %s --check-prefix=FILE
// RUN: echo "nonsense" | not vernier-compile 2>&1 | FileCheck %s --check-prefix=PARSE
// RUN: not vernier-compile %s --dump-dir %t.nowhere 2>&1 | FileCheck %s --check-prefix=DUMP
// RUN: vernier-compile --help | FileCheck %s --check-prefix=HELP

// KERNELS: kernel f: tiles of 1 of arg0.0 rows
// HOST: result 0: f32
// HOST-NEXT: f32 [2,64]: 3.75 2 0.25
// EMPTY: f32 [0,64]:{{$}}
// OBJECT-DAG: T f.packed
// OBJECT-DAG: T f.tasks.packed
// PHASE: error: unknown phase 'nowhere'; phases of host are: input, fused, loops, llvm
// ORDER: error: phase 'llvm' comes after 'fused'
// VALUE: error: option --rows needs a value
// OPTION: error: unknown option --turbo; see --help
// FILE: error: cannot open {{.*}}.missing: No such file or directory
// PARSE: error: custom op 'nonsense' is unknown
// DUMP: error: cannot write {{.*}}nowhere/module.0.input.mlir: No such file or directory
// HELP: phases:
// HELP-NEXT: input
func.func @f(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %y = arith.negf %x : tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}
