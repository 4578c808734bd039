#!/bin/sh
# Finds the block device of a volume in this server, says what holds it, and releases it for a detach.
# It needs a POSIX shell, awk, sed and the tools of what holds the disk. usage() below says how to call it.
#
# The tests run it under each of dash, bash and busybox that is installed: on directories that simulate a server, and,
# as root where there are loop devices, on a real kernel (mounts, bind mounts, busy mounts, mount namespaces, lazy
# unmounts, swap, open devices). Not tried: a bare metal server or a disk of Open Telekom Cloud; LVM, md, dm-crypt,
# multipath and ZFS of a real kernel; --delete-device on a real disk. Run it on the server itself: in a container it
# sees only the container's mounts and processes.

set -u
LC_ALL=C
export LC_ALL
TAB=$(printf '\t')

# Another root is for tests: a directory with dev, etc, proc and sys. Its tools are those on the PATH, and no others.
ROOT=${ROOT:-}
[ -n "$ROOT" ] || PATH=$PATH:/usr/sbin:/sbin
DEV=$ROOT/dev ETC=$ROOT/etc PROC=$ROOT/proc SYS=$ROOT/sys

usage() {
    cat <<'END'
usage: release-volume.sh --volume-id ID [--wwn WWN] [--check | --release] [--delete-device] [--json]

  --volume-id ID    the volume's id in block storage (a UUID)
  --wwn WWN         the volume's WWN in block storage; identifies SCSI disks
  --check           say what holds the disk, change nothing (the default)
  --release         unmount the disk, turn swap off, close what is stacked on it, flush it; topmost layer first
  --delete-device   with --release: then remove the SCSI device from this system; a rescan brings it back
  --json            print one JSON object and nothing else

Exit status: 0 free or released, 1 held (the output says by what), 2 usage or not root, 3 no device or several found.

It changes nothing if it cannot release the disk safely: a process, a loop device or a mount in another namespace holds
it; a volume group, pool or array has other disks as well; or the running system is on it. If a command fails, the
release ends there; "did" lists what was released until then.
END
}

id='' wwn='' mode=check delete='' json=''
disks='' found_by='' held='' did='' warnings='' failed=''

# ------------------------------------------------------------------------------------------------------- the answer

lines_as_json() {
    sed -e 's/[\\"]/\\&/g' -e "s/$TAB/ /g" -e 's/^/"/' -e 's/$/"/' | tr -d '\000-\011\013-\037' | paste -s -d , -
}

held_as_json() {
    sed -e 's/[\\"]/\\&/g' | awk -F "$TAB" '{
        printf "%s{\"kind\":\"%s\",\"device\":\"%s\",\"detail\":\"%s\"}", (NR > 1 ? "," : ""), $1, $2, $3 }'
}

say() { # echo would read backslashes
    printf '%s\n' "$1"
}

listed() { # the lines of a text, of which an empty one has none
    [ -z "$1" ] || printf '%s\n' "$1"
}

finish() { # exit status, result, message
    if [ -n "$json" ]; then
        printf '{"volume_id":"%s","mode":"%s","result":"%s","message":%s,"devices":[%s],"found_by":[%s],' \
            "$id" "$mode" "$2" "$(listed "$3" | paste -s -d ' ' - | lines_as_json)" \
            "$(for disk in $disks; do say "/dev/$disk"; done | lines_as_json)" "$(listed "$found_by" | lines_as_json)"
        printf '"held_by":[%s],"did":[%s],"warnings":[%s]}\n' \
            "$(listed "$held" | held_as_json)" "$(listed "$did" | lines_as_json)" \
            "$(listed "$warnings" | lines_as_json)"
    else
        for disk in $disks; do say "device   /dev/$disk"; done
        listed "$found_by" | sed 's/^/found by /'
        listed "$did" | sed 's/^/did      /'
        listed "$held" | awk -F "$TAB" '{ print "held by  " $1 ": " $2 ", " $3 }'
        listed "$warnings" | sed 's/^/warning  /'
        say "result   $2: $3"
    fi
    exit "$1"
}

misused() {
    echo "release-volume.sh: $1" >&2
    usage >&2
    exit 2
}

and_line() { # a text, one more line
    if [ -z "$1" ]; then printf '%s' "$2"; else printf '%s\n%s' "$1" "$2"; fi
}

warn() {
    warnings=$(and_line "$warnings" "$1")
}

# ------------------------------------------------------------------------------------------------ devices, by sysfs

has() {
    command -v "$1" >/dev/null 2>&1
}

content() { # of a file in sysfs, or nothing
    [ -r "$1" ] && tr -d '\000' <"$1" 2>/dev/null
}

kernel_name() { # of a path below DEV: sdb, dm-0; nothing for what is no block device
    base=$(readlink -f "$1" 2>/dev/null)
    base=${base##*/}
    if [ -n "$base" ] && [ -e "$SYS/class/block/$base" ]; then
        say "$base"
        return
    fi
    for entry in "$SYS"/class/block/dm-*; do
        if [ -e "$entry" ] && [ "$(content "$entry/dm/name")" = "${1##*/}" ]; then say "${entry##*/}"; fi
    done
}

path_of() { # where the tools find a device
    mapped=$(content "$SYS/class/block/$1/dm/name")
    if [ -n "$mapped" ]; then say "$DEV/mapper/$mapped"; else say "$DEV/$1"; fi
}

shown() { # the same for people
    path=$(path_of "$1")
    say "${path#"$ROOT"}"
}

names_in() { # a directory of sysfs
    for entry in "$1"/*; do
        if [ -e "$entry" ] || [ -h "$entry" ]; then say "${entry##*/}"; fi
    done
}

resting_on() ( # all that rests on a device, topmost first, the device itself last
    for part in "$SYS/class/block/$1/$1"*; do
        if [ -e "$part/partition" ]; then resting_on "${part##*/}"; fi
    done
    for holder in $(names_in "$SYS/class/block/$1/holders"); do resting_on "$holder"; done
    say "$1"
)

tree() {
    for disk in $disks; do resting_on "$disk"; done | awk '!seen[$0]++'
}

within() { # a name, a list of names
    for one in $2; do
        if [ "$one" = "$1" ]; then return 0; fi
    done
    return 1
}

kind_of() { # disk | partition | lvm | crypt | multipath | raid | other
    if within "$1" "$disks"; then echo disk
    elif [ -e "$SYS/class/block/$1/partition" ]; then echo partition
    elif [ -d "$SYS/class/block/$1/md" ]; then echo raid
    else
        case $(content "$SYS/class/block/$1/dm/uuid") in
            LVM-*) echo lvm ;;
            CRYPT-*) echo crypt ;;
            mpath-* | part*-mpath-*) echo multipath ;;
            *) echo other ;;
        esac
    fi
}

map_of() { # the multipath map of a disk
    for holder in $(names_in "$SYS/class/block/$1/holders"); do
        case $(content "$SYS/class/block/$holder/dm/uuid") in mpath-*) say "$holder" ;; esac
    done
}

# ------------------------------------------------------------------------------------------- the disk of the volume

is_serial() { # virtio-blk keeps 20 characters
    serial=$(printf '%s' "$1" | tr -d ' \n' | tr 'A-F' 'a-f')
    case $serial in "$id" | "$short" | "$plain") return 0 ;; esac
    return 1
}

is_wwn() {
    [ -n "$wwn" ] || return 1
    number=$(printf '%s' "$1" | tr -d ' \n' | tr 'A-F' 'a-f')
    number=${number#naa.}
    [ "${number#0x}" = "$wwn" ]
}

wwn_of() { # a disk; one without a WWN is like no other
    for file in wwid device/wwid; do
        number=$(content "$SYS/block/$1/$file")
        if [ -n "$number" ]; then
            say "$number"
            return
        fi
    done
    say "$1"
}

candidates() { # lines: kernel name, what named it
    for link in "$DEV"/disk/by-id/*; do
        name=${link##*/}
        case $name in
            *-part[0-9]*) continue ;;
            virtio-"$id" | virtio-"$short" | scsi-*[-_]"$id" | scsi-*[-_]"$short") ;;
            *) [ -n "$wwn" ] || continue
                case $name in wwn-0x"$wwn" | scsi-3"$wwn" | dm-uuid-mpath-3"$wwn") ;; *) continue ;; esac ;;
        esac
        device=$(kernel_name "$link")
        # Of device-mapper only a multipath map is the disk itself.
        case $device:$(content "$SYS/class/block/$device/dm/uuid") in dm-*:mpath-*) ;; dm-*) continue ;; esac
        [ -z "$device" ] || say "$device$TAB$name"
    done
    for entry in "$SYS"/block/*; do
        name=${entry##*/}
        case $name in dm-* | md* | loop* | ram* | zram* | sr*) continue ;; esac
        for file in serial device/serial device/vpd_pg80; do
            value=$(content "$entry/$file")
            # Page 80 has a header of four bytes, the last of which is a length and may be a character.
            case $file in *vpd_pg80) value=$(tail -c +5 "$entry/$file" 2>/dev/null | tr -d '\000') ;; esac
            if [ -n "$value" ] && is_serial "$value"; then say "$name${TAB}serial number"; fi
        done
        for file in wwid device/wwid; do
            value=$(content "$entry/$file")
            if [ -n "$value" ] && is_wwn "$value"; then say "$name${TAB}WWN"; fi
        done
    done
    has lsblk || return 0
    lsblk -dnP -o NAME,SERIAL,WWN 2>/dev/null |
        sed -n 's/^NAME="\([^"]*\)" SERIAL="\([^"]*\)" WWN="\([^"]*\)".*/\1|\2|\3/p' |
        while IFS='|' read -r name serial number; do
            if [ -n "$serial" ] && is_serial "$serial"; then say "$name${TAB}serial number, by lsblk"; fi
            if [ -n "$number" ] && is_wwn "$number"; then say "$name${TAB}WWN, by lsblk"; fi
        done
}

find_disks() {
    found=$(candidates | sort -u)
    found_by=$(listed "$found" | awk -F "$TAB" '{ print "/dev/" $1 ": " $2 }')
    disks=$(listed "$found" | cut -f 1 | sort -u | while read -r name; do
        if [ -d "$SYS/class/block/$name/dm" ]; then names_in "$SYS/class/block/$name/slaves"; else say "$name"; fi
    done | sort -u)
    [ -n "$disks" ] || finish 3 not_found "no block device has this volume's id or WWN; is the volume attached to this \
server, and was --wwn given for a SCSI disk?"
    maps=$(for disk in $disks; do map_of "$disk"; done | sort -u)
    # Several disks are one volume only as paths to it: with one WWN, or under one map.
    wwns=$(for disk in $disks; do wwn_of "$disk"; done | sort -u)
    mapped=$(for disk in $disks; do [ -z "$(map_of "$disk")" ] || say "$disk"; done)
    if [ "$(listed "$disks" | wc -l)" -gt 1 ] && [ "$(listed "$wwns" | wc -l)" -ne 1 ]; then
        if [ "$(listed "$maps" | wc -l)" -ne 1 ] || [ "$mapped" != "$disks" ]; then
            finish 3 ambiguous "more than one disk answers to this volume; nothing was changed. Give --wwn, or look at \
lsblk -o NAME,SERIAL,WWN"
        fi
    fi
    [ -z "$maps" ] || disks=$(for map in $maps; do names_in "$SYS/class/block/$map/slaves"; done | sort -u)
}

# ---------------------------------------------------------------------------------------------------- who holds it

keys() { # what mountinfo may call the devices of the tree: number=name path=name
    for name in $(tree); do
        say "$(content "$SYS/class/block/$name/dev")=$name /dev/$name=$name $(shown "$name")=$name"
    done | tr '\n' ' '
}

mounts_of() { # a process: lines of kernel name, mount point, file system
    awk -v known="$known" '
        BEGIN {
            count = split(known, pairs, " ")
            for (i = 1; i <= count; i++) if (split(pairs[i], pair, "=") == 2) name[pair[1]] = pair[2]
        }
        {
            for (i = 7; i <= NF && $i != "-"; i++);
            on = ($3 in name) ? name[$3] : (($(i + 2) in name) ? name[$(i + 2)] : "")
            if (on != "") print on "\t" $5 "\t" $(i + 1)
        }' "$PROC/$1/mountinfo" 2>/dev/null | sed -e 's/\\040/ /g' -e 's/\\011/ /g' -e 's/\\134/\\/g'
}

namespaces() { # one process of each mount namespace but our own
    # shellcheck disable=SC2012 # one ls reads the links of all processes; their names are numbers
    ls -l "$PROC"/[0-9]*/ns/mnt 2>/dev/null | awk -v own="$(readlink "$PROC/self/ns/mnt" 2>/dev/null)" '{
        process = $(NF - 2); sub("/ns/mnt$", "", process); sub(".*/", "", process)
        if ($NF != own && !seen[$NF]++) print process
    }'
}

process() { # number and name
    say "process $1 ($(content "$PROC/$1/comm"))"
}

swaps() { # lines of path, kind
    [ -r "$PROC/swaps" ] && awk 'NR > 1 { print $1 "\t" $2 }' "$PROC/swaps" | sed -e 's/\\040/ /g'
}

below() { # a path: is it in one of our mounts?
    listed "$own_mounts" | cut -f 2 | while read -r point; do
        case $1 in "$point"/*) echo yes ;; esac
    done
}

held_by_mounts() {
    system=$(printf '%s\n%s\n' "$own_mounts" "$(mounts_of 1)" |
        awk -F "$TAB" '$2 == "/" || $2 == "/usr" || $2 ~ "^/boot(/|$)" { print $1 "\t" $2 }' | sort -u)
    listed "$system" | while IFS="$TAB" read -r name point; do
        say "system$TAB$(shown "$name")${TAB}the running system has $point on it"
    done
    listed "$own_mounts" | while IFS="$TAB" read -r name point type; do
        say "mount$TAB$(shown "$name")${TAB}mounted at $point ($type)"
    done
    for other in $(namespaces); do
        mounts_of "$other" | while IFS="$TAB" read -r name point type; do
            # A copy at the same place usually goes with ours; whether it did is seen afterwards.
            if ! listed "$own_mounts" | cut -f 1,2 | grep -qxF "$name$TAB$point"; then
                say "namespace$TAB$(shown "$name")${TAB}mounted at $point, in the mount namespace of \
$(process "$other")"
            fi
        done
    done | sort -u
}

held_by_file_systems() { # that are alive, and mounted nowhere that is seen
    for name in $all; do
        for entry in "$SYS/fs/ext4/$name" "$SYS/fs/xfs/$name" "$SYS/fs/f2fs/$name" "$SYS"/fs/btrfs/*/devices/"$name"; do
            if [ -e "$entry" ] && ! listed "$mounted" | grep -qx "$name"; then
                type=${entry#"$SYS/fs/"}
                say "filesystem$TAB$(shown "$name")${TAB}${type%%/*} is in use, though no mount is seen: a lazy \
unmount, a mount namespace without a process, or a file system on several disks"
            fi
        done
    done
}

held_by_swap() {
    swaps | while IFS="$TAB" read -r path type; do
        if [ "$type" = file ]; then
            [ -z "$(below "$path")" ] || say "swap$TAB$path${TAB}a swap file"
        elif within "$(kernel_name "$ROOT$path")" "$all"; then
            say "swap$TAB$path${TAB}swap space"
        fi
    done
}

held_by_devices() {
    for name in $all; do
        kind=$(kind_of "$name")
        case $kind in disk | partition) continue ;; esac
        say "$kind$TAB$(shown "$name")${TAB}rests on it"
        for base in $(names_in "$SYS/class/block/$name/slaves"); do
            within "$base" "$all" || say "shared$TAB$(shown "$name")${TAB}rests on /dev/$base as well"
        done
    done
    for name in $(names_in "$SYS/class/block"); do
        backing=$(content "$SYS/class/block/$name/loop/backing_file")
        [ -n "$backing" ] || continue
        if [ -n "$(below "$backing")" ] || within "$(kernel_name "$ROOT$backing")" "$all"; then
            within "$name" "$all" || say "loop$TAB/dev/$name${TAB}a loop device of $backing"
        fi
    done
}

groups() { # lines of volume group (none, if it is in none), physical volume
    has pvs && pvs --noheadings --separator '|' -o vg_name,pv_name 2>/dev/null | sed 's/^ *//'
}

group_of() { # of a logical volume; device-mapper doubles the dashes in names
    content "$SYS/class/block/$1/dm/name" | awk '{
        gsub("--", "\001"); sub("-.*", ""); gsub("\001", "-"); print }'
}

held_by_groups() {
    for name in $all; do
        if [ "$(kind_of "$name")" = lvm ]; then group_of "$name"; fi
    done | sort -u | while read -r group; do
        has pvs || say "shared$TAB$group${TAB}a volume group, and there is no pvs to tell on which disks: install lvm2"
        groups | while IFS='|' read -r of path; do
            if [ "$of" = "$group" ] && ! within "$(kernel_name "$ROOT$path")" "$all"; then
                say "shared$TAB$group${TAB}the volume group has $path as well"
            fi
        done
    done
}

pools() { # lines of pool, device
    has zpool && zpool list -H -o name 2>/dev/null | while read -r pool; do
        zpool status -L -P "$pool" 2>/dev/null | awk -v pool="$pool" '$1 ~ "^/" { print pool "\t" $1 }'
    done
}

held_by_pools() {
    [ -e "$SYS/module/zfs" ] || return 0
    if ! has zpool; then
        for name in $all; do
            case $(blkid -o value -s TYPE "$(path_of "$name")" 2>/dev/null) in
                zfs_member) say "other$TAB$(shown "$name")${TAB}a ZFS pool, and no zpool to tell its state" ;;
            esac
        done
        return 0
    fi
    known_pools=$(pools)
    listed "$known_pools" | while IFS="$TAB" read -r pool path; do
        within "$(kernel_name "$ROOT$path")" "$all" || continue
        say "zfs$TAB$pool${TAB}a pool on $path"
        listed "$known_pools" | while IFS="$TAB" read -r of other; do
            if [ "$of" = "$pool" ] && ! within "$(kernel_name "$ROOT$other")" "$all"; then
                say "shared$TAB$pool${TAB}the pool has $other as well"
            fi
        done
    done | sort -u
}

openers() { # lines of device, process
    # /dev/null makes ls write the directory's name even if there is only one.
    # shellcheck disable=SC2012 # as in namespaces()
    ls -l /dev/null "$PROC"/[0-9]*/fd 2>/dev/null | awk -v known="$known" '
        BEGIN {
            count = split(known, pairs, " ")
            for (i = 1; i <= count; i++) if (split(pairs[i], pair, "=") == 2 && pair[1] ~ "^/") name[pair[1]] = pair[2]
        }
        /\/[0-9]+\/fd:$/ { process = $0; sub("/fd:$", "", process); sub(".*/", "", process) }
        / -> / { target = $0; sub(".* -> ", "", target); if (target in name) print name[target] "\t" process }'
    has fuser || return 0
    for name in $all; do
        for number in $(fuser "$(path_of "$name")" 2>/dev/null | tr -cd '0-9 '); do say "$name$TAB$number"; done
    done
}

held_by_processes() {
    openers | sort -u | while IFS="$TAB" read -r name number; do
        # multipathd has the paths open that it watches, and lets go when their device does.
        case $(content "$PROC/$number/comm") in multipathd) continue ;; esac
        say "process$TAB$(shown "$name")${TAB}open in $(process "$number")"
    done
}

look() { # sets held: lines of kind, device, detail
    all=$(tree)
    known=$(keys)
    own_mounts=$(mounts_of self)
    mounted=$(for number in self $(namespaces); do mounts_of "$number"; done | cut -f 1 | sort -u)
    held=$(
        held_by_mounts
        held_by_file_systems
        held_by_swap
        held_by_devices
        held_by_groups
        held_by_pools
        held_by_processes
    )
}

# --------------------------------------------------------------------------------- what will look for it afterwards

named_in_table() { # a device as fstab and crypttab write it: its kernel name
    case $1 in
        UUID=*) kernel_name "$DEV/disk/by-uuid/${1#UUID=}" ;;
        LABEL=*) kernel_name "$DEV/disk/by-label/${1#LABEL=}" ;;
        PARTUUID=*) kernel_name "$DEV/disk/by-partuuid/${1#PARTUUID=}" ;;
        PARTLABEL=*) kernel_name "$DEV/disk/by-partlabel/${1#PARTLABEL=}" ;;
        /dev/*) kernel_name "$ROOT$1" ;;
    esac
}

look_at_tables() {
    for table in fstab:1:4 crypttab:2:4; do
        file=${table%%:*} columns=${table#*:}
        [ -r "$ETC/$file" ] || continue
        entries=$(tr -d '"' <"$ETC/$file" | awk -v device="${columns%%:*}" -v options="${columns##*:}" '
            !/^[ \t]*#/ && NF > 1 && ("," $options ",") !~ ",(nofail|noauto)," { print $device "\t" NR }')
        listed "$entries" >"$scratch"
        while IFS="$TAB" read -r device line; do
            if within "$(named_in_table "$device")" "$all"; then
                warn "/etc/$file, line $line: $device has no nofail; remove the entry, or the server may not start"
            fi
        done <"$scratch"
    done
    for group in $(groups | while IFS='|' read -r of path; do
        if [ -n "$of" ] && within "$(kernel_name "$ROOT$path")" "$all"; then say "$of"; fi
    done | sort -u); do
        warn "volume group $group is on it: vgexport $group first, if another server is to have the disk"
    done
}

# --------------------------------------------------------------------------------------------------------- release

run() { # a command; what it says counts only if it fails
    command=$(say "$*" | sed "s|$ROOT/dev/|/dev/|g")
    if said=$("$@" 2>&1 </dev/null); then
        did=$(and_line "$did" "$command")
        return 0
    fi
    failed="$command: $(listed "${said:-it failed and said nothing}" | paste -s -d ' ' -)"
    return 1
}

busy() { # a mount point: who is at work there
    has fuser || return 0
    for number in $(fuser -m "$1" 2>/dev/null | tr -cd '0-9 '); do process "$number"; done | sort -u | paste -s -d , -
}

let_go_of_contents() {
    swaps >"$scratch"
    while IFS="$TAB" read -r path type; do
        if [ "$type" = file ]; then
            [ -n "$(below "$path")" ] || continue
        else
            within "$(kernel_name "$ROOT$path")" "$all" || continue
        fi
        run swapoff "$path" || return 1
    done <"$scratch"
    for pool in $(listed "$held" | awk -F "$TAB" '$1 == "zfs" { print $2 }' | sort -u); do
        run zpool export "$pool" || return 1
    done
    # Whatever was mounted last may be inside of what was mounted before.
    while before=$(mounts_of self) && [ -n "$before" ]; do
        point=$(listed "$before" | tail -n 1 | cut -f 2)
        if ! run umount "$point"; then
            who=$(busy "$point")
            failed="$failed${who:+; in use by }$who"
            return 1
        fi
        if [ "$(mounts_of self)" = "$before" ]; then
            failed="$point is still mounted after it was unmounted"
            return 1
        fi
    done
}

rank() { # of a kind: a volume group goes when nothing above any of its volumes is left, a map of paths last
    case $1 in raid | crypt) echo 1 ;; lvm) echo 2 ;; *) echo 3 ;; esac
}

next_to_close() {
    for name in $(tree); do
        kind=$(kind_of "$name")
        case $kind in disk | partition) continue ;; esac
        [ -n "$(names_in "$SYS/class/block/$name/holders")" ] || say "$(rank "$kind")$TAB$kind$TAB$name"
    done | sort | head -n 1
}

close() { # kind, name
    case $1 in
        crypt) run cryptsetup close "$(content "$SYS/class/block/$2/dm/name")" ;;
        raid) run mdadm --stop "$(path_of "$2")" ;;
        lvm) run vgchange -an "$(group_of "$2")" ;;
        multipath)
            map=$2
            # The map's partitions go with it.
            case $(content "$SYS/class/block/$2/dm/uuid") in part*) map=$(names_in "$SYS/class/block/$2/slaves") ;; esac
            run multipath -f "$(content "$SYS/class/block/$map/dm/name")" ;;
    esac
}

let_go_of_devices() {
    while next=$(next_to_close) && [ -n "$next" ]; do
        rest=${next#*"$TAB"}
        name=${rest#*"$TAB"}
        close "${rest%%"$TAB"*}" "$name" || return 1
        ! has udevadm || udevadm settle --timeout=10 >/dev/null 2>&1
        if within "$name" "$(tree)"; then
            failed="$(shown "$name") is still there after it was closed"
            return 1
        fi
    done
    for disk in $disks; do
        run blockdev --flushbufs "$DEV/$disk" || return 1
    done
}

remove_devices() {
    for disk in $disks; do
        switch=$SYS/block/$disk/device/delete
        if [ ! -e "$switch" ]; then
            warn "/dev/$disk is no SCSI disk, so it was not removed from this system"
        elif echo 1 >"$switch" 2>/dev/null; then
            did=$(and_line "$did" "removed /dev/$disk from this system")
        else
            failed="/dev/$disk could not be removed from this system"
            return 1
        fi
    done
}

release() {
    mine='^(mount|swap|lvm|crypt|multipath|raid|zfs)$'
    not_mine=$(listed "$held" | awk -F "$TAB" -v mine="$mine" '$1 !~ mine { print $1 }' | sort -u | paste -s -d ' ' -)
    [ -z "$not_mine" ] || finish 1 held "nothing was changed; first see to: $not_mine"
    if let_go_of_contents && let_go_of_devices; then
        look
        [ -z "$held" ] || finish 1 held "it is still held after the release; see who holds it, and run this again"
        [ -z "$delete" ] || remove_devices || finish 1 held "$failed"
        finish 0 released "nothing holds the disk any more; it may be detached"
    fi
    look
    finish 1 held "stopped at $failed"
}

# -------------------------------------------------------------------------------------------------------- the call

while [ $# -gt 0 ]; do
    case $1 in
        --volume-id | --wwn) [ $# -gt 1 ] || misused "$1 wants a value" ;;
    esac
    case $1 in
        --volume-id) id=$2 && shift ;;
        --wwn) wwn=$2 && shift ;;
        --check) mode=check ;;
        --release) mode=release ;;
        --delete-device) delete=yes ;;
        --json) json=yes ;;
        -h | --help) usage && exit 0 ;;
        *) misused "$1 is not known" ;;
    esac
    shift
done

id=$(printf '%s' "$id" | tr 'A-F' 'a-f')
plain=$(printf '%s' "$id" | tr -d -)
short=$(printf '%.20s' "$id")
case $id in
    '') misused "--volume-id is missing" ;;
    *[!0-9a-f-]*) misused "--volume-id is no UUID" ;;
    ????????-????-????-????-????????????) [ ${#plain} -eq 32 ] || misused "--volume-id is no UUID" ;;
    *) misused "--volume-id is no UUID" ;;
esac
wwn=$(printf '%s' "$wwn" | tr -d ' \t' | tr 'A-FX' 'a-fx')
wwn=${wwn#wwn-} wwn=${wwn#naa.} wwn=${wwn#0x}
case $wwn in *[!0-9a-f]*) misused "--wwn is no hexadecimal number" ;; esac
[ -z "$delete" ] || [ "$mode" = release ] || misused "--delete-device goes with --release"
[ -n "$ROOT" ] || [ "$(id -u)" -eq 0 ] || misused "only root sees who holds a disk: run it with sudo"

scratch=$(mktemp) || exit 2
trap 'rm -f "$scratch"' EXIT

! has udevadm || udevadm settle --timeout=10 >/dev/null 2>&1
find_disks
look
look_at_tables
[ "$mode" = check ] || release
[ -z "$held" ] || finish 1 held "something holds the disk; --release lets go of mounts, swap, LVM, RAID, encryption, \
multipath and ZFS that are on this disk alone"
finish 0 free "nothing holds the disk; it may be detached"
