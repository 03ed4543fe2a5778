# Bitstream of a Zynq board:
#   vivado -mode batch -source vivado/build.tcl -tclargs -jobs 4 -source rtl
# -source rtl: the SystemVerilog of the project; hls: the IP that Vitis HLS exported before.
# -digest: of the sources; if it is that of the run before, finished steps are not done again.
# Leaves hwmoe.bit, hwmoe.hwh, hwmoe.xsa and reports in build/vivado.

set here [file dirname [file normalize [info script]]]
foreach script {config.tcl common.tcl package_ip.tcl design.tcl run.tcl} {
  source [file join $here $script]
}

set given [read_options $argv {jobs 2 source rtl digest {}}]
set jobs [dict get $given jobs]
set digest [dict get $given digest]
set stamp [file join $work digest.txt]
set project [file join $work hwmoe hwmoe.xpr]
file mkdir $work

set before ""
if {[file isfile $stamp] && [file isfile $project]} {
  set channel [open $stamp]
  set before [string trim [read $channel]]
  close $channel
}
if {$digest ne "" && $before eq $digest} {
  say "continuing the run before"
  open_project $project
} else {
  file delete $stamp
  set repository [ip_repository [dict get $given source]]
  create_project -force -part $part hwmoe [file join $work hwmoe]
  set_property board_part $board_part [current_project]
  set_property ip_repo_paths [list $repository] [current_project]
  update_ip_catalog -rebuild
  make_design hwmoe
  set design [get_files hwmoe.bd]
  make_wrapper -files $design -top -import
  set_property top hwmoe_wrapper [current_fileset]
  update_compile_order -fileset sources_1
  generate_target all $design
  set channel [open $stamp w]
  puts $channel $digest
  close $channel
}

phase "synthesis"
run_to_end synth_1 $jobs
phase "implementation"
run_to_end impl_1 $jobs
write_reports $work
check_timing impl_1 $clock_mhz
phase "bitstream"
write_outputs $jobs
say "done"
