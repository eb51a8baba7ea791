# Finds LLVM/MLIR 22 and offers one interface library, vernier_mlir_static.
#
# The CMake targets that LLVM exports drag in libMLIR.so and libLLVM.so beside the static archives, and mixing the two
# breaks at run time. Everything is therefore linked from the archives, in one group, and unused sections are dropped.
find_program(LLVM_CONFIG NAMES llvm-config-22 llvm-config REQUIRED
             HINTS /usr/lib/llvm-22/bin DOC "llvm-config of LLVM 22")
execute_process(COMMAND "${LLVM_CONFIG}" --version OUTPUT_VARIABLE VERNIER_LLVM_VERSION
                OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
if(NOT VERNIER_LLVM_VERSION MATCHES "^22\\.")
  message(FATAL_ERROR "vernier needs LLVM 22, but ${LLVM_CONFIG} is ${VERNIER_LLVM_VERSION}; "
                      "install llvm-22-dev libmlir-22-dev mlir-22-tools or set LLVM_CONFIG")
endif()
foreach(dir bindir libdir includedir)
  execute_process(COMMAND "${LLVM_CONFIG}" --${dir} OUTPUT_VARIABLE LLVM_${dir}
                  OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
endforeach()
execute_process(
  COMMAND "${LLVM_CONFIG}" --link-static --libfiles nvptx x86 aarch64 orcjit passes perfjitevents frontendopenmp
  OUTPUT_VARIABLE llvm_archives OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
separate_arguments(llvm_archives)

file(GLOB mlir_archives "${LLVM_libdir}/libMLIR*.a")
list(FILTER mlir_archives EXCLUDE REGEX "libMLIR(CAPI|.*Test|.*Runner|.*runner|MlirOptMain)")
if(NOT mlir_archives)
  message(FATAL_ERROR "no static MLIR archives in ${LLVM_libdir}; install libmlir-22-dev")
endif()

add_library(vernier_mlir_headers INTERFACE)
target_include_directories(vernier_mlir_headers SYSTEM INTERFACE "${LLVM_includedir}")
target_compile_definitions(vernier_mlir_headers INTERFACE
  __STDC_CONSTANT_MACROS __STDC_FORMAT_MACROS __STDC_LIMIT_MACROS)

add_library(vernier_mlir_static INTERFACE)
target_link_libraries(vernier_mlir_static INTERFACE
  -Wl,--start-group ${mlir_archives} ${llvm_archives} -Wl,--end-group z zstd dl pthread m)
target_link_options(vernier_mlir_static INTERFACE
  -fuse-ld=lld -Wl,--gc-sections -Wl,--exclude-libs,ALL -Wl,--build-id=sha1)

find_program(MLIR_TBLGEN NAMES mlir-tblgen mlir-tblgen-22 REQUIRED HINTS "${LLVM_bindir}" NO_DEFAULT_PATH)
