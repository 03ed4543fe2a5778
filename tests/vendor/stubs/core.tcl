# Stand-ins for the Tcl commands of Vivado and Vitis HLS, stricter than the tools: a command, option
# or property that is not defined here is an error, and so is what comes in a wrong order.
#   tclsh core.tcl {vivado|hls} SCRIPT ARGUMENT..
# Options are those of UG835 (Vivado) and UG1399 (Vitis HLS). The environment plants results:
# STUB_WNS, STUB_WHS (ns), STUB_FAIL (a run that fails), STUB_NO_MAP (no memory map is inferred).

namespace eval ipx {}

# Options `flags` take no value, those in `valued` one; then `least` to `most` words. The body
# finds them in the dictionary `opt` and the list `words`.
proc define {name flags valued least most body} {
  set ::stub_spec($name) [list [concat $flags quiet verbose] $valued $least $most]
  proc ::$name {args} "lassign \[parse_arguments [list $name] \$args\] opt words\n$body"
}

proc parse_arguments {name arguments} {
  lassign $::stub_spec($name) flags valued least most
  set opt [dict create]
  set words {}
  while {[llength $arguments] > 0} {
    set arguments [lassign $arguments word]
    if {![regexp {^-([a-z]\w*)$} $word -> option]} {
      lappend words $word
    } elseif {$option in $flags} {
      dict set opt $option 1
    } elseif {$option in $valued} {
      if {[llength $arguments] == 0} {
        error "$name: -$option has no value"
      }
      set arguments [lassign $arguments value]
      dict set opt $option $value
    } else {
      error "$name: no option -$option"
    }
  }
  set count [llength $words]
  if {$count < $least || ($most >= 0 && $count > $most)} {
    error "$name: $count words, not $least to $most: $words"
  }
  return [list $opt $words]
}

proc option {opt name {default ""}} {
  return [expr {[dict exists $opt $name] ? [dict get $opt $name] : $default}]
}

proc need {condition text} {
  if {![uplevel 1 [list expr $condition]]} {
    error $text
  }
}

# Objects are KIND|NAME; properties are in ::stub_property(OBJECT,NAME), and known ones by kind.
proc object {kind name} {
  return "$kind|$name"
}

proc name_of {value} {
  return [lindex [split $value |] end]
}

proc of_kind {kind value} {
  set parts [split $value |]
  if {[llength $parts] != 2 || [lindex $parts 0] ne $kind} {
    error "'$value' is no object of the kind $kind"
  }
  return [lindex $parts 1]
}

define set_property {} {dict} 1 3 {
  if {[dict exists $opt dict]} {
    need {[llength $words] == 1} "set_property -dict: one object"
    set pairs [dict get $opt dict]
    set target [lindex $words 0]
  } else {
    need {[llength $words] == 3} "set_property: name, value, object; not '$words'"
    lassign $words name value target
    set pairs [list $name $value]
  }
  need {[llength $target] == 1} "set_property: one object is needed, not '$target'"
  set kind [lindex [split $target |] 0]
  need {[info exists ::stub_known($kind)]} "set_property: '$target' is no object"
  foreach {name value} $pairs {
    set found [expr {$name in $::stub_known($kind)}]
    if {$kind eq "cell"} {
      set found [known_setting [name_of $target] $name]
    }
    need {$found} "set_property: a $kind has no property $name"
    set ::stub_property($target,$name) $value
  }
}

define get_property {} {} 2 2 {
  lassign $words name target
  need {[llength $target] == 1} "get_property: one object, not '$target'"
  need {[info exists ::stub_property($target,$name)]} "get_property: $target has no $name"
  return $::stub_property($target,$name)
}

set stub_known(project) {board_part ip_repo_paths}
set stub_known(fileset) {top}
set stub_known(run) {}
set stub_known(core) {
  name version display_name description sdx_kernel sdx_kernel_type ipi_drc vitis_drc
}
set stub_known(bus) {slave_memory_map_ref}
set stub_known(parameter) {value}
set stub_known(block) {range width}
set stub_known(register) {address_offset size access description}
set stub_known(cell) {}

proc unknown {args} {
  error "no command '[lindex $args 0]'"
}

rename exit tcl_exit
proc exit {{code 0}} {
  puts "stub: exit $code"
  tcl_exit $code
}

set stub_mode [lindex $argv 0]
set stub_script [lindex $argv 1]
set argv [lrange $argv 2 end]
set stub_place [file dirname [file normalize [info script]]]
if {$stub_mode eq "vivado"} {
  foreach stub_part {project ipx bd addresses} {
    source [file join $stub_place $stub_part.tcl]
  }
} else {
  source [file join $stub_place hls.tcl]
}
if {[catch {source $stub_script} stub_text]} {
  puts "stub: error: $stub_text"
  puts $errorInfo
  tcl_exit 99
}
puts "stub: end of script"
