# vernier_tablegen(<file.td> <target> <output> <mlir-tblgen arguments...> [<output> <arguments> ...])
# Each output is given as "name|arguments"; it is written beside the .td's path in the build tree.
function(vernier_tablegen td target)
  file(RELATIVE_PATH dir "${PROJECT_SOURCE_DIR}" "${CMAKE_CURRENT_SOURCE_DIR}")
  file(GLOB_RECURSE depends "${PROJECT_SOURCE_DIR}/dialects/*.td" "${PROJECT_SOURCE_DIR}/compiler/*.td")
  set(outputs)
  foreach(spec ${ARGN})
    string(REPLACE "|" ";" parts "${spec}")
    list(POP_FRONT parts name)
    separate_arguments(arguments UNIX_COMMAND "${parts}")
    set(output "${PROJECT_BINARY_DIR}/${dir}/${name}")
    add_custom_command(
      OUTPUT "${output}"
      COMMAND "${MLIR_TBLGEN}" ${arguments} -I "${PROJECT_SOURCE_DIR}" -I "${LLVM_includedir}"
              "${CMAKE_CURRENT_SOURCE_DIR}/${td}" --write-if-changed -o "${output}"
      COMMAND "${CMAKE_COMMAND}" -E touch_nocreate "${output}"
      DEPENDS ${depends}
      COMMENT "mlir-tblgen ${dir}/${name}")
    list(APPEND outputs "${output}")
  endforeach()
  add_custom_target(${target} DEPENDS ${outputs})
  set_property(GLOBAL APPEND PROPERTY VERNIER_TABLEGEN_TARGETS ${target})
endfunction()

# vernier_library(<name> SOURCES ... [DEPENDS libraries...] [MLIR])
# An object-like static library of this repository. MLIR gives it LLVM's and MLIR's headers; nothing else has them.
function(vernier_library name)
  cmake_parse_arguments(ARG "MLIR" "" "SOURCES;DEPENDS" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_compile_options(${name} PRIVATE -Wall -Wextra -Wno-unused-parameter -Wno-deprecated-declarations -ffunction-sections -fdata-sections)
  target_link_libraries(${name} PUBLIC ${ARG_DEPENDS})
  if(ARG_MLIR)
    target_link_libraries(${name} PUBLIC vernier_mlir_headers)
    get_property(tablegen GLOBAL PROPERTY VERNIER_TABLEGEN_TARGETS)
    add_dependencies(${name} ${tablegen})
  endif()
endfunction()
