# Folders, options and messages of all scripts. What these scripts say starts with "hwmoe:".

set project_root [file dirname [file dirname [file normalize [info script]]]]
set work [file join $project_root build vivado]

# One line on standard output; `hwmoe build` shows phases as they pass.
proc say {text} {
  puts "hwmoe: $text"
  flush stdout
}

proc phase {name} {
  say "phase $name"
}

# Say what is wrong and end Vivado. 1: the tool failed; 3: timing is not met.
proc fail {text {code 1}} {
  say "error: $text"
  exit $code
}

# Options as -name value pairs; a name that is not in `defaults` is an error.
proc read_options {arguments defaults} {
  set values $defaults
  foreach {name value} $arguments {
    set name [string range $name 1 end]
    if {![dict exists $defaults $name]} {
      fail "unknown option -$name; known: -[join [dict keys $defaults] { -}]"
    }
    dict set values $name $value
  }
  return $values
}

# Each file below the project; all that are missing are named at once.
proc project_files {names} {
  global project_root
  set found {}
  set missing {}
  foreach name $names {
    set path [file join $project_root $name]
    if {[file isfile $path]} {
      lappend found $path
    } else {
      lappend missing $name
    }
  }
  if {[llength $missing] > 0} {
    fail "files of the project are missing: [join $missing {, }]"
  }
  return $found
}
