# Reads what ptxas -v says: the registers of each kernel (most of all chips), and whether any spills.
/Compiling entry function/ { split($0, part, "'"); kernel = part[2]; sub(/^_Z[0-9]+/, "", kernel); sub(/_kernel.*/, "_kernel", kernel) }
/spill stores/ {
    spilled = $5 + $9
    if (spilled > 0) {
        printf "%s: %d bytes spilled\n", kernel, spilled
        failed = 1
    }
}
/Used [0-9]+ registers/ {
    for (i = 1; i < NF; i++)
        if ($i == "Used" && $(i + 1) > registers[kernel])
            registers[kernel] = $(i + 1)
}
END {
    for (kernel in registers)
        text = text sprintf("%s%s %d", text == "" ? "" : ", ", kernel, registers[kernel])
    print "  registers: " text "; spilled: " (failed ? "some" : "none")
    exit failed
}
