# Vitis HLS (UG1399, chapter on Tcl commands). STUB_FAIL: a command that fails.

set stub_state none
set stub_files {}
set stub_bench {}

proc in_state {wanted} {
  need {$::stub_state in $wanted} "[lindex [info level -1] 0]: the state is $::stub_state, not $wanted"
}

define open_project {reset} {} 1 1 {
  need {$::stub_state eq "none"} "open_project: twice"
  need {![string match */* [lindex $words 0]]} "open_project: a name, not a path"
  set ::stub_state project
}

define set_top {} {} 1 1 {
  in_state project
  set ::stub_top [lindex $words 0]
}

define add_files {tb} {cflags csimflags} 1 1 {
  in_state project
  foreach path [lindex $words 0] {
    need {[file isfile $path]} "add_files: no file $path"
    lappend ::stub_[expr {[dict exists $opt tb] ? "bench" : "files"}] $path
  }
}

define open_solution {reset} {flow_target} 1 1 {
  in_state project
  need {[llength $::stub_files] > 0 && [info exists ::stub_top]} "open_solution: no files or no top"
  need {[option $opt flow_target] in {vivado vitis}} "open_solution: -flow_target"
  set ::stub_flow [option $opt flow_target]
  set ::stub_state solution
}

define set_part {} {} 1 1 {
  in_state solution
  need {[regexp {^xc\w+(-\w+)*$} [lindex $words 0]]} "set_part: [lindex $words 0]"
  set ::stub_part 1
}

define create_clock {} {period name} 0 1 {
  in_state solution
  need {[string is double -strict [option $opt period]]} "create_clock: -period"
  set ::stub_clock 1
}

define config_interface {m_axi_addr64} {} 0 0 {in_state solution}

define csim_design {clean O setup} {argv ldflags mflags} 0 0 {
  in_state solution
  need {[lsearch $::stub_bench *.cpp] >= 0} "csim_design: no test bench"
  foreach word [option $opt argv] {
    need {[lsearch $::stub_bench */$word] >= 0} "csim_design: $word is no file of the test bench"
  }
}

define csynth_design {} {} 0 0 {
  in_state solution
  need {[info exists ::stub_part] && [info exists ::stub_clock]} "csynth_design: no part or no clock"
  set source [lsearch -inline $::stub_files */$::stub_top.cpp]
  need {$source ne ""} "csynth_design: no file of $::stub_top"
  set channel [open $source]
  set text [read $channel]
  close $channel
  need {[regexp "void $::stub_top\\(" $text]} "csynth_design: no function $::stub_top"
  set ::stub_state synthesized
}

define export_design {} {format vendor library version ipname output description display_name flow rtl} 0 0 {
  in_state synthesized
  set format [option $opt format]
  need {$format in {ip_catalog xo syn_dcp sysgen}} "export_design: -format $format"
  need {($format eq "xo") == ($::stub_flow eq "vitis")} "export_design: $format in the flow $::stub_flow"
  set vlnv [join [lmap name {vendor library ipname version} {option $opt $name}] :]
  need {$vlnv eq "hwmoe:hwmoe:$::stub_top:1.0"} "export_design: $vlnv"
  puts "stub: exported $format"
}
