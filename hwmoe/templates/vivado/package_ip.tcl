# SystemVerilog of the project -> an IP with AXI interfaces and a register map, in `folder`.
# The register map is in the IP's memory map, from where Vivado takes it into the .hwh.

proc package_ip {folder} {
  global work part sources masters read_only registers control_range
  global ip_vendor ip_library ip_name ip_version ip_top
  phase "package IP"
  file delete -force $folder
  create_project -force -part $part ip [file join $work ip_project]
  add_files -norecurse [project_files $sources]
  set_property top $ip_top [current_fileset]
  update_compile_order -fileset sources_1
  # -import_files: the IP holds copies, so a later change of the project does not reach into it.
  ipx::package_project -root_dir $folder -vendor $ip_vendor -library $ip_library \
    -taxonomy /UserIP -import_files -force -set_current true
  set core [ipx::current_core]
  set_property name $ip_name $core
  set_property version $ip_version $core
  set_property display_name "hwmoe accelerator" $core
  set_property description "Mixture-of-Experts vision transformer, made by hwmoe" $core
  connect_interfaces $core [concat s_axi_control $masters]
  foreach master $read_only {
    set bus [ipx::get_bus_interfaces $master -of_objects $core]
    set_parameter $bus READ_WRITE_MODE READ_ONLY
  }
  add_registers $core $registers $control_range
  ipx::create_xgui_files $core
  ipx::update_checksums $core
  ipx::check_integrity $core
  return $core
}

# The packager infers AXI interfaces from the names of ports; each must be there, with its clock.
proc connect_interfaces {core buses} {
  foreach bus $buses {
    if {[llength [ipx::get_bus_interfaces $bus -of_objects $core]] != 1} {
      fail "the IP packager did not find the AXI interface $bus"
    }
    ipx::associate_bus_interfaces -busif $bus -clock ap_clk $core
  }
  ipx::associate_bus_interfaces -clock ap_clk -reset ap_rst_n $core
  if {[llength [ipx::get_bus_interfaces -quiet interrupt -of_objects $core]] == 0} {
    ipx::infer_bus_interface interrupt xilinx.com:signal:interrupt_rtl:1.0 $core
  }
  set bus [ipx::get_bus_interfaces interrupt -of_objects $core]
  set_parameter $bus SENSITIVITY LEVEL_HIGH
}

proc set_parameter {bus name value} {
  if {[llength [ipx::get_bus_parameters -quiet $name -of_objects $bus]] == 0} {
    ipx::add_bus_parameter $name $bus
  }
  set_property value $value [ipx::get_bus_parameters $name -of_objects $bus]
}

# Vivado infers the memory map of an AXI4-Lite slave; if it has not, it is made here.
proc add_registers {core registers range} {
  set map [ipx::get_memory_maps -quiet s_axi_control -of_objects $core]
  if {[llength $map] == 0} {
    set map [ipx::add_memory_map s_axi_control $core]
    set bus [ipx::get_bus_interfaces s_axi_control -of_objects $core]
    set_property slave_memory_map_ref s_axi_control $bus
  }
  set block [lindex [ipx::get_address_blocks -quiet -of_objects $map] 0]
  if {$block eq ""} {
    set block [ipx::add_address_block reg0 $map]
  }
  set_property range [expr {$range}] $block
  set_property width 32 $block
  foreach entry $registers {
    lassign $entry name offset bits access description
    set register [ipx::add_register $name $block]
    set_property address_offset $offset $register
    set_property size $bits $register
    set_property access $access $register
    set_property description $description $register
  }
}
