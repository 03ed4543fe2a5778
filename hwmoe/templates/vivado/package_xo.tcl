# The accelerator as an RTL kernel of Vitis, for cards:
#   vivado -mode batch -source vivado/package_xo.tcl
# Leaves build/vitis/hwmoe_top.xo for `v++ --link` with vitis/link.cfg.

set here [file dirname [file normalize [info script]]]
foreach script {config.tcl common.tcl package_ip.tcl} {
  source [file join $here $script]
}
read_options $argv {}
set out [file join $project_root build vitis]
set folder [file join $out ip]
file mkdir $out

set core [package_ip $folder]
phase "package kernel"
set_property sdx_kernel true $core
set_property sdx_kernel_type rtl $core
# The platform chooses the clock: its frequency is no property of the kernel.
set_property ipi_drc {ignore_freq_hz true} $core
set_property vitis_drc {ctrl_protocol ap_ctrl_hs} $core
ipx::update_checksums $core
ipx::save_core $core
close_project
# The control protocol and the arguments are in kernel.xml.
package_xo -force -xo_path [file join $out $ip_name.xo] -kernel_name $ip_name \
  -ip_directory $folder -kernel_xml [lindex [project_files vitis/kernel.xml] 0]
say "done"
