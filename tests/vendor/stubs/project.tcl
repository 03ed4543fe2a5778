# Projects, sources and runs of Vivado (UG835).

proc open_now {} {
  need {[info exists ::stub_project]} "no project is open"
  return $::stub_project
}

define create_project {force} {part} 2 2 {
  need {![info exists ::stub_project]} "create_project: a project is open"
  need {[regexp {^xc\w+(-\w+)*$} [option $opt part]]} "create_project: -part [option $opt part]"
  lassign $words name folder
  file mkdir $folder
  close [open [file join $folder $name.xpr] w]
  begin_project $name $folder
}

proc begin_project {name folder} {
  set ::stub_project $name
  set ::stub_folder $folder
  set ::stub_sources {}
  set ::stub_property([object fileset sources_1],top) ""
  foreach run {synth_1 impl_1} {
    set target [object run $run]
    set ::stub_property($target,PROGRESS) 0%
    set ::stub_property($target,STATUS) "Not started"
    set ::stub_property($target,DIRECTORY) [file join $folder $name.runs $run]
    foreach timing {STATS.WNS STATS.WHS} {
      set ::stub_property($target,$timing) ""
    }
  }
}

# What a run before has left is in a file beside the project.
define open_project {} {} 1 1 {
  set path [lindex $words 0]
  need {[file isfile $path]} "open_project: no $path"
  begin_project [file rootname [file tail $path]] [file dirname $path]
  set ::stub_property([object fileset sources_1],top) hwmoe_wrapper
  set ::stub_generated 1
  set left [file join $::stub_folder left.tcl]
  need {[file isfile $left]} "open_project: the run before has left nothing"
  source $left
}

proc keep_runs {} {
  set channel [open [file join $::stub_folder left.tcl] w]
  foreach {name value} [array get ::stub_property run|*] {
    puts $channel [list set ::stub_property($name) $value]
  }
  close $channel
}

define close_project {} {} 0 0 {
  open_now
  unset ::stub_project
  set ::stub_generated 0
}

define current_project {} {} 0 0 {return [object project [open_now]]}
define current_fileset {} {} 0 0 {open_now; return [object fileset sources_1]}

define add_files {norecurse} {fileset} 1 -1 {
  open_now
  foreach path [concat {*}$words] {
    need {[file isfile $path]} "add_files: no file $path"
    lappend ::stub_sources $path
  }
}

define update_compile_order {} {fileset} 0 0 {
  need {[option $opt fileset] eq "sources_1"} "update_compile_order: -fileset sources_1"
  need {$::stub_property([object fileset sources_1],top) ne ""} "update_compile_order: no top is set"
}

define update_ip_catalog {rebuild} {} 0 0 {
  set target [object project [open_now]]
  need {[info exists ::stub_property($target,ip_repo_paths)]} "update_ip_catalog: no ip_repo_paths"
  foreach folder $::stub_property($target,ip_repo_paths) {
    read_component [file join $folder component.xml]
  }
}

set stub_generated 0
define get_files {} {} 1 1 {
  set name [lindex $words 0]
  need {[info exists ::stub_design] && $name eq "$::stub_design.bd"} "get_files: no $name"
  return [object file $name]
}

define make_wrapper {top import} {files} 0 0 {
  of_kind file [option $opt files]
  need {$::stub_saved} "make_wrapper: the block design is not validated and saved"
  need {[dict exists $opt import]} "make_wrapper: without -import it is not in the project"
  lappend ::stub_sources hwmoe_wrapper.v
}

define generate_target {} {} 2 2 {
  need {[lindex $words 0] eq "all"} "generate_target: all"
  of_kind file [lindex $words 1]
  need {"hwmoe_wrapper.v" in $::stub_sources} "generate_target: no wrapper yet"
  set place [file join $::stub_folder $::stub_project.gen sources_1 bd $::stub_design hw_handoff]
  file mkdir $place
  set channel [open [file join $place $::stub_design.hwh] w]
  puts $channel [join [lsort $::stub_assigned] \n]
  close $channel
  set ::stub_generated 1
}

define get_runs {} {} 1 1 {
  open_now
  need {[lindex $words 0] in {synth_1 impl_1}} "get_runs: no [lindex $words 0]"
  return [object run [lindex $words 0]]
}

define reset_runs {} {} 1 1 {
  set target [object run [of_kind run [lindex $words 0]]]
  set ::stub_property($target,PROGRESS) 0%
  set ::stub_property($target,STATUS) "Not started"
}

define launch_runs {} {jobs to_step} 1 1 {
  set run [lindex $words 0]
  set target [object run $run]
  need {[string is integer -strict [option $opt jobs]]} "launch_runs: -jobs [option $opt jobs]"
  need {$::stub_generated} "launch_runs: the block design is not generated"
  need {$::stub_property([object fileset sources_1],top) eq "hwmoe_wrapper"} "launch_runs: wrong top"
  if {$run eq "impl_1"} {
    need {$::stub_property([object run synth_1],PROGRESS) eq "100%"} "launch_runs: synth_1 is not done"
  }
  set step [option $opt to_step]
  need {$step in {"" write_bitstream}} "launch_runs: -to_step $step"
  if {$step eq ""} {
    need {$::stub_property($target,STATUS) eq "Not started"} "launch_runs: $run must be reset before"
  }
  set ::stub_launched($run) $step
}

define wait_on_run {} {timeout} 1 1 {
  set run [lindex $words 0]
  need {[info exists ::stub_launched($run)]} "wait_on_run: $run is not launched"
  set target [object run $run]
  set step $::stub_launched($run)
  unset ::stub_launched($run)
  file mkdir $::stub_property($target,DIRECTORY)
  if {[info exists ::env(STUB_FAIL)] && $::env(STUB_FAIL) eq $run} {
    set ::stub_property($target,PROGRESS) 40%
    set ::stub_property($target,STATUS) "$run ERROR"
  } else {
    set ::stub_property($target,PROGRESS) 100%
    set ::stub_property($target,STATUS) "[expr {$step eq "" ? $run : $step}] Complete!"
    if {$run eq "impl_1"} {
      set ::stub_property($target,STATS.WNS) [expr {[info exists ::env(STUB_WNS)] ? $::env(STUB_WNS) : 0.1}]
      set ::stub_property($target,STATS.WHS) [expr {[info exists ::env(STUB_WHS)] ? $::env(STUB_WHS) : 0.01}]
    }
    if {$step ne ""} {
      close [open [file join $::stub_property($target,DIRECTORY) hwmoe_wrapper.bit] w]
    }
  }
  keep_runs
}

define open_run {} {name} 1 1 {
  set target [object run [lindex $words 0]]
  need {$::stub_property($target,PROGRESS) eq "100%"} "open_run: $target is not complete"
  set ::stub_opened 1
}

proc write_report {opt} {
  need {[info exists ::stub_opened]} "a report needs an open run"
  close [open [option $opt file] w]
}

define report_utilization {hierarchical} {file hierarchical_depth} 0 0 {write_report $opt}
define report_timing_summary {} {file delay_type max_paths} 0 0 {
  need {[option $opt delay_type max] in {max min min_max}} "report_timing_summary: -delay_type"
  write_report $opt
}

define write_hw_platform {fixed force include_bit hw minimal} {} 1 1 {
  need {[file extension [lindex $words 0]] eq ".xsa"} "write_hw_platform: not an .xsa"
  set place $::stub_property([object run impl_1],DIRECTORY)
  need {[llength [glob -nocomplain -directory $place *.bit]] == 1} "write_hw_platform: no bitstream"
  close [open [lindex $words 0] w]
}

define package_xo {force} {
  xo_path kernel_name ip_directory kernel_xml ctrl_protocol output_kernel_xml kernel_files
} 0 0 {
  need {![info exists ::stub_core]} "package_xo: the core is not saved"
  read_component [file join [option $opt ip_directory] component.xml]
  need {[option $opt kernel_name] eq $::stub_component(name)} "package_xo: the IP is $::stub_component(name)"
  need {$::stub_component(kernel) eq "true rtl"} "package_xo: the IP is no kernel: $::stub_component(kernel)"
  need {[file isfile [option $opt kernel_xml]]} "package_xo: no [option $opt kernel_xml]"
  need {[file extension [option $opt xo_path]] eq ".xo"} "package_xo: -xo_path"
  close [open [option $opt xo_path] w]
}
