# cmake -DPROGRAM=... [-DEMULATOR=...] -P same_numbers.cmake: runs qpsbgd_answers with each instruction set of this
# machine and fails unless all print the same.
execute_process(COMMAND ${EMULATOR} ${PROGRAM} --list OUTPUT_VARIABLE names COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL "[^\n]+" names "${names}")
foreach(name IN LISTS names)
  set(ENV{QPSBGD_ISA} ${name})
  execute_process(COMMAND ${EMULATOR} ${PROGRAM} OUTPUT_VARIABLE answers COMMAND_ERROR_IS_FATAL ANY)
  if(NOT DEFINED expected)
    set(expected "${answers}")
  elseif(NOT answers STREQUAL expected)
    message(FATAL_ERROR "${name} gives other numbers than scalar code:\n${answers}\nscalar:\n${expected}")
  endif()
endforeach()
message("the same numbers: ${names}")
