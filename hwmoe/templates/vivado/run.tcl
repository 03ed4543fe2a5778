# Runs of a project: to their end, their reports, their timing, what they leave.

# Where the IP is: packaged here from SystemVerilog, or exported by Vitis HLS.
proc ip_repository {source} {
  global work project_root
  switch -- $source {
    rtl {
      set folder [file join $work ip]
      set core [package_ip $folder]
      ipx::save_core $core
      close_project
      return $folder
    }
    hls {
      # `vitis_hls` names a project and a solution, `v++ -c --mode hls` has one folder.
      foreach place {hls/hwmoe/solution1/impl/ip hls/hls/impl/ip} {
        set folder [file join $project_root build $place]
        if {[file isfile [file join $folder component.xml]]} {
          return $folder
        }
      }
      fail "no IP of Vitis HLS below build/hls: run `hwmoe build --tool hls` first"
    }
    default {
      fail "-source is rtl or hls, not $source"
    }
  }
}

# Launch a run unless it is complete, and wait. What a run before has left half done is reset.
proc run_to_end {run jobs} {
  if {[get_property PROGRESS [get_runs $run]] ne "100%"} {
    if {[get_property STATUS [get_runs $run]] ne "Not started"} {
      reset_runs [get_runs $run]
    }
    launch_runs $run -jobs $jobs
    wait_on_run $run
  }
  set status [get_property STATUS [get_runs $run]]
  if {[get_property PROGRESS [get_runs $run]] ne "100%"} {
    fail "$run did not finish: $status. Its log: [get_property DIRECTORY [get_runs $run]]/runme.log"
  }
  say "$run: $status"
}

proc write_reports {folder} {
  phase "reports"
  open_run impl_1
  report_utilization -file [file join $folder utilization.rpt]
  report_utilization -hierarchical -hierarchical_depth 4 \
    -file [file join $folder utilization_modules.rpt]
  report_timing_summary -delay_type min_max -max_paths 10 -file [file join $folder timing.rpt]
}

# No bitstream is made of a design that does not meet its clock: it may compute wrong numbers.
proc check_timing {run clock_mhz} {
  set setup [get_property STATS.WNS [get_runs $run]]
  set hold [get_property STATS.WHS [get_runs $run]]
  if {$setup eq "" || $hold eq ""} {
    fail "$run has no timing (WNS '$setup', WHS '$hold'): was it routed?"
  }
  say "timing WNS $setup ns, WHS $hold ns at $clock_mhz MHz"
  if {$setup < 0} {
    set possible [expr {int(floor(1000.0 / (1000.0 / $clock_mhz - $setup)))}]
    fail "timing is not met: WNS $setup ns at $clock_mhz MHz; about $possible MHz would be. Set\
      clock_mhz in the board file, or take a smaller machine. Paths: build/vivado/timing.rpt" 3
  }
  if {$hold < 0} {
    fail "hold time is not met: WHS $hold ns. Paths: build/vivado/timing.rpt" 3
  }
}

# .bit and .hwh of one stem, as PYNQ wants them, and the .xsa.
proc write_outputs {jobs} {
  global work
  set bits [glob -nocomplain -directory [get_property DIRECTORY [get_runs impl_1]] *.bit]
  if {[llength $bits] == 0} {
    launch_runs impl_1 -to_step write_bitstream -jobs $jobs
    wait_on_run impl_1
    set bits [glob -nocomplain -directory [get_property DIRECTORY [get_runs impl_1]] *.bit]
  }
  if {[llength $bits] != 1} {
    fail "write_bitstream left no bitstream: [get_property STATUS [get_runs impl_1]]"
  }
  file copy -force [lindex $bits 0] [file join $work hwmoe.bit]
  # Since Vivado 2020.2 generated files are in .gen, before in .srcs.
  set handoff {}
  foreach tree {gen srcs} {
    lappend handoff {*}[glob -nocomplain [file join $work hwmoe hwmoe.$tree sources_1 bd hwmoe \
      hw_handoff hwmoe.hwh]]
  }
  if {[llength $handoff] == 0} {
    fail "the block design left no hwmoe.hwh below [file join $work hwmoe]"
  }
  file copy -force [lindex $handoff 0] [file join $work hwmoe.hwh]
  write_hw_platform -fixed -include_bit -force [file join $work hwmoe.xsa]
}
