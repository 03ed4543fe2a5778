# Block designs (UG994, UG835). What pins and interfaces the PS cores have under which settings is
# written down here by itself, not taken from hwmoe: PG201 (zynq_ultra_ps_e) and PG082.

set stub_saved 0
set stub_validated 0
set stub_assigned {}

define create_bd_design {} {} 1 1 {
  open_now
  set target [object project $::stub_project]
  need {[info exists ::stub_property($target,board_part)]} "create_bd_design: no board_part is set"
  set ::stub_design [lindex $words 0]
  set ::stub_cells {}
}

define create_bd_cell {} {type vlnv} 1 1 {
  need {[info exists ::stub_design]} "create_bd_cell: no block design"
  need {[option $opt type] eq "ip"} "create_bd_cell: -type [option $opt type]"
  set vlnv [option $opt vlnv]
  set known {xilinx.com:ip:zynq_ultra_ps_e xilinx.com:ip:processing_system7
    xilinx.com:ip:smartconnect xilinx.com:ip:proc_sys_reset}
  if {[info exists ::stub_component(vlnv)]} {
    lappend known $::stub_component(vlnv)
  }
  need {$vlnv in $known} "create_bd_cell: no IP $vlnv in the catalog"
  set name [lindex $words 0]
  need {![dict exists $::stub_cells $name]} "create_bd_cell: $name is there"
  dict set ::stub_cells $name [lindex [split $vlnv :] 2]
}

define get_bd_cells {} {} 1 1 {
  need {[dict exists $::stub_cells [lindex $words 0]]} "get_bd_cells: no [lindex $words 0]"
  return [object cell [lindex $words 0]]
}

define apply_bd_automation {} {rule config} 1 1 {
  set cell [of_kind cell [lindex $words 0]]
  set type [dict get $::stub_cells $cell]
  need {[option $opt rule] eq "xilinx.com:bd_rule:$type"} "apply_bd_automation: -rule"
  set config [option $opt config]
  need {[dict get $config apply_board_preset] == 1} "apply_bd_automation: without the preset"
  if {$type eq "processing_system7"} {
    need {[dict get $config make_external] eq "FIXED_IO, DDR"} "the DDR of the PS is not external"
    setting $cell PCW_USE_M_AXI_GP0 1
  } else {
    # Presets of boards have these on: their clocks must be driven or they must be switched off.
    foreach name {PSU__USE__M_AXI_GP0 PSU__USE__M_AXI_GP1 PSU__USE__M_AXI_GP2} {
      setting $cell $name 1
    }
  }
  set ::stub_preset($cell) 1
}

proc setting {cell name {value ""}} {
  set key [object cell $cell],CONFIG.$name
  if {$value ne ""} {
    set ::stub_property($key) $value
  }
  return [expr {[info exists ::stub_property($key)] ? $::stub_property($key) : 0}]
}

proc known_setting {cell name} {
  set type [dict get $::stub_cells $cell]
  if {$type in {zynq_ultra_ps_e processing_system7}} {
    need {[info exists ::stub_preset($cell)]} "settings of $cell come after the board's preset"
  }
  set patterns [dict create \
    zynq_ultra_ps_e {PSU__FPGA_PL0_ENABLE PSU__CRL_APB__PL0_REF_CTRL__(SRCSEL|FREQMHZ)
      PSU__USE__[MS]_AXI_GP[0-6] PSU__[MS]AXIGP[0-6]__DATA_WIDTH PSU__USE__IRQ[01]} \
    processing_system7 {PCW_EN_CLK0_PORT PCW_EN_RST0_PORT PCW_USE_M_AXI_GP[01]
      PCW_USE_S_AXI_HP[0-3] PCW_S_AXI_HP[0-3]_DATA_WIDTH PCW_USE_FABRIC_INTERRUPT PCW_IRQ_F2P_INTR
      PCW_FPGA0_PERIPHERAL_FREQMHZ} \
    smartconnect {NUM_SI NUM_MI NUM_CLKS}]
  if {![dict exists $patterns $type]} {
    return 0
  }
  foreach pattern [dict get $patterns $type] {
    if {[regexp "^CONFIG\\.$pattern\$" $name]} {
      return 1
    }
  }
  return 0
}

# Pin -> input or output; interface -> master or slave, of a cell as it is set now.
proc pins_of {cell} {
  set pins [dict create]
  switch -- [dict get $::stub_cells $cell] {
    zynq_ultra_ps_e {
      set pins {pl_clk0 output pl_resetn0 output}
      if {[setting $cell PSU__USE__IRQ0]} {dict set pins pl_ps_irq0 input}
      foreach {number name} {0 maxihpm0_fpd 1 maxihpm1_fpd 2 maxihpm0_lpd} {
        if {[setting $cell PSU__USE__M_AXI_GP$number]} {dict set pins ${name}_aclk input}
      }
      foreach {number name} {0 hpc0 1 hpc1 2 hp0 3 hp1 4 hp2 5 hp3} {
        if {[setting $cell PSU__USE__S_AXI_GP$number]} {dict set pins saxi${name}_fpd_aclk input}
      }
    }
    processing_system7 {
      set pins {FCLK_CLK0 output FCLK_RESET0_N output}
      if {[setting $cell PCW_USE_FABRIC_INTERRUPT] && [setting $cell PCW_IRQ_F2P_INTR]} {
        dict set pins IRQ_F2P input
      }
      if {[setting $cell PCW_USE_M_AXI_GP0]} {dict set pins M_AXI_GP0_ACLK input}
      foreach number {0 1 2 3} {
        if {[setting $cell PCW_USE_S_AXI_HP$number]} {dict set pins S_AXI_HP${number}_ACLK input}
      }
    }
    smartconnect {set pins {aclk input aresetn input}}
    proc_sys_reset {
      set pins {slowest_sync_clk input ext_reset_in input peripheral_aresetn output
        interconnect_aresetn output}
    }
    default {set pins {ap_clk input ap_rst_n input interrupt output}}
  }
  return $pins
}

proc interfaces_of {cell} {
  set found [dict create]
  switch -- [dict get $::stub_cells $cell] {
    zynq_ultra_ps_e {
      foreach {number name} {0 M_AXI_HPM0_FPD 1 M_AXI_HPM1_FPD 2 M_AXI_HPM0_LPD} {
        if {[setting $cell PSU__USE__M_AXI_GP$number]} {dict set found $name master}
      }
      foreach {number name} {0 HPC0 1 HPC1 2 HP0 3 HP1 4 HP2 5 HP3} {
        if {[setting $cell PSU__USE__S_AXI_GP$number]} {dict set found S_AXI_${name}_FPD slave}
      }
    }
    processing_system7 {
      if {[setting $cell PCW_USE_M_AXI_GP0]} {dict set found M_AXI_GP0 master}
      foreach number {0 1 2 3} {
        if {[setting $cell PCW_USE_S_AXI_HP$number]} {dict set found S_AXI_HP$number slave}
      }
    }
    smartconnect {
      for {set i 0} {$i < [setting $cell NUM_SI]} {incr i} {
        dict set found [format S%02d_AXI $i] slave
      }
      for {set i 0} {$i < [setting $cell NUM_MI]} {incr i} {
        dict set found [format M%02d_AXI $i] master
      }
    }
    proc_sys_reset {}
    default {
      dict for {bus side} $::stub_component(buses) {
        if {$side ne "signal"} {dict set found $bus $side}
      }
    }
  }
  return $found
}

proc find_pin {kind path} {
  lassign [split $path /] cell pin
  need {[info exists ::stub_cells] && [dict exists $::stub_cells $cell]} "no cell $cell for $path"
  set there [expr {$kind eq "pin" ? [pins_of $cell] : [interfaces_of $cell]}]
  need {[dict exists $there $pin]} "$cell has no $kind $pin, as it is set now: [dict keys $there]"
  return [object $kind $path]
}

proc side_of {kind path} {
  lassign [split $path /] cell pin
  return [dict get [expr {$kind eq "pin" ? [pins_of $cell] : [interfaces_of $cell]}] $pin]
}

define get_bd_pins {} {} 1 1 {return [find_pin pin [lindex $words 0]]}
define get_bd_intf_pins {} {} 1 1 {return [find_pin intf [lindex $words 0]]}

define connect_bd_net {} {} 2 -1 {
  set drivers {}
  foreach word $words {
    set pin [of_kind pin $word]
    if {[side_of pin $pin] eq "output"} {lappend drivers $pin}
  }
  need {[llength $drivers] == 1} "connect_bd_net: drivers are '$drivers'"
  foreach word $words {
    set pin [of_kind pin $word]
    if {$pin ne $drivers} {
      need {![info exists ::stub_net($pin)]} "connect_bd_net: $pin is connected"
      set ::stub_net($pin) $drivers
    }
  }
}

define connect_bd_intf_net {} {} 2 2 {
  lassign $words one other
  set one [of_kind intf $one]
  set other [of_kind intf $other]
  need {[side_of intf $one] eq "master"} "connect_bd_intf_net: $one is no master"
  need {[side_of intf $other] eq "slave"} "connect_bd_intf_net: $other is no slave"
  foreach pin [list $one $other] {
    need {![info exists ::stub_wire($pin)]} "connect_bd_intf_net: $pin is connected"
  }
  set ::stub_wire($one) $other
  set ::stub_wire($other) $one
}

define validate_bd_design {} {} 0 0 {
  dict for {cell type} $::stub_cells {
    dict for {pin side} [pins_of $cell] {
      need {$side ne "input" || [info exists ::stub_net($cell/$pin)]} "validate: $cell/$pin is open"
    }
    dict for {name side} [interfaces_of $cell] {
      need {[info exists ::stub_wire($cell/$name)]} "validate: $cell/$name is open"
      if {$side eq "slave" || $type eq "smartconnect"} {continue}
      set space [expr {[string match *ps* $type] || $type eq "processing_system7" ? "$cell/Data" : "$cell/$name"}]
      dict for {segment via} [segments] {
        if {$via in [reached $cell/$name]} {
          need {[info exists ::stub_mapped($space,$segment)]} "validate: $segment of $space has no address"
        }
      }
    }
  }
  set ::stub_validated 1
}

define save_bd_design {} {} 0 0 {
  need {$::stub_validated} "save_bd_design: not validated"
  set ::stub_saved 1
}
