# The block design: PS with the board's preset, the accelerator as hwmoe_0, SmartConnects between.

proc make_design {name} {
  global ps_vlnv ps_rule ps_preset ps_settings clock_pin reset_pin interrupt_pin memory_ports
  global ip_vendor ip_library ip_name ip_version control_port control_clock
  phase "block design"
  create_bd_design $name
  create_bd_cell -type ip -vlnv $ps_vlnv ps
  apply_bd_automation -rule $ps_rule -config $ps_preset [get_bd_cells ps]
  set_property -dict $ps_settings [get_bd_cells ps]
  create_bd_cell -type ip -vlnv $ip_vendor:$ip_library:$ip_name:$ip_version hwmoe_0
  create_bd_cell -type ip -vlnv xilinx.com:ip:proc_sys_reset reset_0

  connect_bd_net [get_bd_pins ps/$clock_pin] [get_bd_pins reset_0/slowest_sync_clk] \
    [get_bd_pins hwmoe_0/ap_clk] [get_bd_pins ps/$control_clock]
  connect_bd_net [get_bd_pins ps/$reset_pin] [get_bd_pins reset_0/ext_reset_in]
  connect_bd_net [get_bd_pins reset_0/peripheral_aresetn] [get_bd_pins hwmoe_0/ap_rst_n]
  connect_bd_net [get_bd_pins hwmoe_0/interrupt] [get_bd_pins ps/$interrupt_pin]

  add_smartconnect control_0 [list ps/$control_port] hwmoe_0/s_axi_control
  set index 0
  foreach entry $memory_ports {
    lassign $entry port clock segments behind
    connect_bd_net [get_bd_pins ps/$clock_pin] [get_bd_pins ps/$clock]
    set sides {}
    foreach master $behind {
      lappend sides hwmoe_0/$master
    }
    add_smartconnect memory_$index $sides ps/$port
    incr index
  }
  assign_addresses
  validate_bd_design
  save_bd_design
}

# One SmartConnect: it joins several masters, and converts AXI4-Lite, AXI3 (the HP ports of
# Zynq-7000), widths and addresses.
proc add_smartconnect {name masters slave} {
  global clock_pin
  create_bd_cell -type ip -vlnv xilinx.com:ip:smartconnect $name
  set_property -dict [list CONFIG.NUM_SI [llength $masters] CONFIG.NUM_MI 1 CONFIG.NUM_CLKS 1] \
    [get_bd_cells $name]
  connect_bd_net [get_bd_pins ps/$clock_pin] [get_bd_pins $name/aclk]
  connect_bd_net [get_bd_pins reset_0/interconnect_aresetn] [get_bd_pins $name/aresetn]
  set index 0
  foreach master $masters {
    connect_bd_intf_net [get_bd_intf_pins $master] \
      [get_bd_intf_pins $name/[format S%02d_AXI $index]]
    incr index
  }
  connect_bd_intf_net [get_bd_intf_pins $name/M00_AXI] [get_bd_intf_pins $slave]
}

# Every master sees the memory of the PS and nothing else of it: OCM and QSPI are excluded.
proc assign_addresses {} {
  global memory_ports control_base control_range
  assign_bd_address -offset $control_base -range $control_range \
    -target_address_space [get_bd_addr_spaces ps/Data] \
    [get_bd_addr_segs hwmoe_0/s_axi_control/*] -force
  foreach entry $memory_ports {
    lassign $entry port clock segments behind
    set all [get_bd_addr_segs ps/$segments/*]
    set ddr [lsearch -all -inline -glob $all *_DDR_*]
    if {[llength $ddr] == 0} {
      fail "ps/$port has no segment of the DDR memory: is the board's preset applied?"
    }
    foreach master $behind {
      # The space of a master is named after it, or Data_ in front if Vitis HLS made the IP.
      set space [get_bd_addr_spaces -of_objects [get_bd_intf_pins hwmoe_0/$master]]
      foreach segment $all {
        if {$segment in $ddr} {
          assign_bd_address -target_address_space $space [get_bd_addr_segs $segment] -force
        } else {
          exclude_bd_addr_seg -target_address_space $space [get_bd_addr_segs $segment]
        }
      }
    }
  }
}
