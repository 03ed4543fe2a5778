# The IP packager (UG1118, UG835): a core is made of the ports of the top module in the sources.
# component.xml is not XML here but what the block design needs to know, one fact a line.

set stub_core_buses {}

define ipx::package_project {import_files force} {
  root_dir vendor library taxonomy set_current generated_files
} 0 0 {
  open_now
  set top $::stub_property([object fileset sources_1],top)
  set file [lsearch -inline $::stub_sources */$top.v]
  need {$file ne ""} "package_project: the top $top is not in a Verilog file (UG1118)"
  foreach option {root_dir vendor library taxonomy} {
    need {[dict exists $opt $option]} "package_project: no -$option"
  }
  set ::stub_core [object core $top]
  set ::stub_core_folder [option $opt root_dir]
  set ::stub_core_vendor "[option $opt vendor]:[option $opt library]"
  set ::stub_core_buses [infer_buses $file $top]
  set ::stub_core_registers {}
  set ::stub_core_map [expr {[info exists ::env(STUB_NO_MAP)] ? "" : "s_axi_control"}]
  set ::stub_core_block [expr {$::stub_core_map eq "" ? "" : "reg0"}]
  foreach name {sdx_kernel sdx_kernel_type} {
    set ::stub_property($::stub_core,$name) ""
  }
}

# An AXI interface is what has all handshakes of five channels; scalars are known by their names.
proc infer_buses {path top} {
  set channel [open $path]
  set text [read $channel]
  close $channel
  need {[regexp "module\\s+$top\\s*\\(" $text]} "package_project: $path has no module $top"
  set ports {}
  foreach {all direction name} [regexp -all -inline {(input|output)\s+wire\s+(?:\[\d+:0\]\s*)?(\w+)} $text] {
    dict set ports $name $direction
  }
  set buses {}
  foreach name [dict keys $ports *_awvalid] {
    set bus [string range $name 0 end-8]
    set out [expr {[dict get $ports $name] eq "output"}]
    foreach {signal master} {awready 0 wvalid 1 wready 0 bvalid 0 bready 1 arvalid 1 arready 0
        rvalid 0 rready 1} {
      need {[dict exists $ports ${bus}_$signal]} "$bus has no $signal"
      set wanted [expr {$master == $out ? "output" : "input"}]
      need {[dict get $ports ${bus}_$signal] eq $wanted} "$bus: $signal is no $wanted"
    }
    dict set buses $bus [expr {$out ? "master" : "slave"}]
  }
  foreach name {ap_clk ap_rst_n} {
    need {[dict exists $ports $name]} "no $name"
    dict set buses $name signal
  }
  set ::stub_core_interrupt [dict exists $ports interrupt]
  return $buses
}

define ipx::current_core {} {} 0 0 {
  need {[info exists ::stub_core]} "current_core: there is none"
  return $::stub_core
}

define ipx::get_bus_interfaces {} {of_objects} 1 1 {
  of_kind core [option $opt of_objects]
  set name [lindex $words 0]
  return [expr {[dict exists $::stub_core_buses $name] ? [object bus $name] : ""}]
}

define ipx::associate_bus_interfaces {} {busif clock reset} 1 1 {
  of_kind core [lindex $words 0]
  foreach option {busif clock reset} {
    if {[dict exists $opt $option]} {
      need {[dict exists $::stub_core_buses [option $opt $option]]} "no interface [option $opt $option]"
    }
  }
  if {[dict exists $opt busif]} {
    lappend ::stub_clocked [option $opt busif]
  }
}

define ipx::infer_bus_interface {} {} 3 3 {
  lassign $words port type core
  of_kind core $core
  need {$port eq "interrupt" && $::stub_core_interrupt} "infer_bus_interface: no port $port"
  need {$type eq "xilinx.com:signal:interrupt_rtl:1.0"} "infer_bus_interface: $type"
  dict set ::stub_core_buses interrupt signal
}

define ipx::get_bus_parameters {} {of_objects} 1 1 {
  set key "[of_kind bus [option $opt of_objects]].[lindex $words 0]"
  return [expr {[info exists ::stub_parameter($key)] ? [object parameter $key] : ""}]
}

define ipx::add_bus_parameter {} {} 2 2 {
  lassign $words name bus
  need {$name in {READ_WRITE_MODE SENSITIVITY}} "add_bus_parameter: $name"
  set ::stub_parameter([of_kind bus $bus].$name) 1
}

define ipx::get_memory_maps {} {of_objects} 1 1 {
  of_kind core [option $opt of_objects]
  return [expr {$::stub_core_map eq [lindex $words 0] ? [object map $::stub_core_map] : ""}]
}

define ipx::add_memory_map {} {} 2 2 {
  need {$::stub_core_map eq ""} "add_memory_map: there is one"
  set ::stub_core_map [lindex $words 0]
  return [object map $::stub_core_map]
}

define ipx::get_address_blocks {} {of_objects} 0 1 {
  of_kind map [option $opt of_objects]
  return [expr {$::stub_core_block eq "" ? "" : [object block $::stub_core_block]}]
}

define ipx::add_address_block {} {} 2 2 {
  of_kind map [lindex $words 1]
  set ::stub_core_block [lindex $words 0]
  return [object block $::stub_core_block]
}

define ipx::add_register {} {} 2 2 {
  lassign $words name block
  of_kind block $block
  need {$name ni $::stub_core_registers} "add_register: $name is there"
  lappend ::stub_core_registers $name
  return [object register $name]
}

define ipx::create_xgui_files {} {} 1 1 {of_kind core [lindex $words 0]}
define ipx::update_checksums {} {} 1 1 {of_kind core [lindex $words 0]}

define ipx::check_integrity {kernel xrt} {} 1 1 {
  of_kind core [lindex $words 0]
  foreach bus [dict keys [dict filter $::stub_core_buses script {k v} {expr {$v ne "signal"}}]] {
    need {[info exists ::stub_clocked] && $bus in $::stub_clocked} "check_integrity: $bus has no clock"
  }
  need {[llength $::stub_core_registers] > 0} "check_integrity: no registers"
  foreach name $::stub_core_registers {
    set target [object register $name]
    set end [expr {$::stub_property($target,address_offset) + $::stub_property($target,size) / 8}]
    set range $::stub_property([object block $::stub_core_block],range)
    need {$end <= $range} "check_integrity: $name ends at $end of $range"
  }
}

define ipx::save_core {} {} 1 1 {
  of_kind core [lindex $words 0]
  file mkdir $::stub_core_folder
  set vlnv "$::stub_core_vendor:$::stub_property($::stub_core,name):$::stub_property($::stub_core,version)"
  set channel [open [file join $::stub_core_folder component.xml] w]
  puts $channel "name $::stub_property($::stub_core,name)"
  puts $channel "vlnv $vlnv"
  puts $channel "kernel {$::stub_property($::stub_core,sdx_kernel) $::stub_property($::stub_core,sdx_kernel_type)}"
  puts $channel "space {}"
  puts $channel "buses {$::stub_core_buses}"
  puts $channel "registers {$::stub_core_registers}"
  close $channel
  unset ::stub_core
}

proc read_component {path} {
  need {[file isfile $path]} "no IP: $path"
  set channel [open $path]
  array set ::stub_component [read $channel]
  close $channel
}
