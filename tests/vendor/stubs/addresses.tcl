# Address spaces and segments of block designs (UG994, UG835); after bd.tcl.

define get_bd_addr_spaces {} {of_objects} 0 1 {
  if {[dict exists $opt of_objects]} {
    return [object space [of_kind intf [option $opt of_objects]]]
  }
  need {[regexp {^(\w+)/Data$} [lindex $words 0] -> cell]} "get_bd_addr_spaces: [lindex $words 0]"
  need {[string match *ps* [dict get $::stub_cells $cell]] || [dict get $::stub_cells $cell] eq "processing_system7"} "no Data in $cell"
  return [object space $cell/Data]
}

# Segment -> the interface through which it is reached.
proc segments {} {
  set found [dict create]
  dict for {cell type} $::stub_cells {
    dict for {name side} [interfaces_of $cell] {
      if {$side ne "slave"} {continue}
      if {$type eq "zynq_ultra_ps_e"} {
        regexp {S_AXI_(\w+)_FPD} $name -> port
        set map SAXIGP[dict get {HPC0 0 HPC1 1 HP0 2 HP1 3 HP2 4 HP3 5} $port]
        foreach segment {DDR_LOW DDR_HIGH LPS_OCM QSPI} {
          dict set found $cell/$map/${port}_$segment $cell/$name
        }
      } elseif {$type eq "processing_system7"} {
        dict set found $cell/$name/[string range $name 6 end]_DDR_LOWOCM $cell/$name
      } elseif {$type ni {smartconnect proc_sys_reset}} {
        dict set found $cell/$name/reg0 $cell/$name
      }
    }
  }
  return $found
}

define get_bd_addr_segs {} {} 1 1 {
  set found {}
  foreach name [dict keys [segments] [name_of [lindex $words 0]]] {
    lappend found [object seg $name]
  }
  need {[llength $found] > 0} "get_bd_addr_segs: none of [lindex $words 0]"
  return $found
}

# The slave interfaces that a master reaches, through SmartConnects.
proc reached {path} {
  need {[info exists ::stub_wire($path)]} "$path is not connected yet"
  set other $::stub_wire($path)
  set cell [lindex [split $other /] 0]
  if {[dict get $::stub_cells $cell] ne "smartconnect"} {
    return [list $other]
  }
  set found {}
  dict for {name side} [interfaces_of $cell] {
    if {$side eq "master"} {lappend found {*}[reached $cell/$name]}
  }
  return $found
}

proc check_reach {space segment} {
  set via [dict get [segments] $segment]
  if {[regexp {^(\w+)/Data$} $space -> cell]} {
    set masters {}
    dict for {name side} [interfaces_of $cell] {
      if {$side eq "master" && [info exists ::stub_wire($cell/$name)]} {lappend masters $cell/$name}
    }
  } else {
    set masters [list $space]
  }
  foreach master $masters {
    if {$via in [reached $master]} {return}
  }
  error "$space does not reach $segment"
}

define assign_bd_address {force} {target_address_space offset range} 1 1 {
  need {[llength [lindex $words 0]] == 1} "assign_bd_address: one segment, not '[lindex $words 0]'"
  set space [of_kind space [option $opt target_address_space]]
  set segment [of_kind seg [lindex $words 0]]
  check_reach $space $segment
  set ::stub_mapped($space,$segment) 1
  lappend ::stub_assigned "$space $segment [option $opt offset] [option $opt range]"
}

define exclude_bd_addr_seg {} {target_address_space} 1 1 {
  set space [of_kind space [option $opt target_address_space]]
  set segment [of_kind seg [lindex $words 0]]
  check_reach $space $segment
  set ::stub_mapped($space,$segment) 1
}
