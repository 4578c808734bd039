<#
.SYNOPSIS
Finds the disk of a volume on this Windows server, says what holds it, and takes it offline for a detach.

.DESCRIPTION
Without -Release it changes nothing, but locks each volume of the disk for a moment, as a test for open files.
It refuses system, cluster and dynamic disks, page files, and volumes with open files.
Exit status: 0 free or released, 1 held (the output says by what), 2 usage, 3 no disk or several found.
Run it as an administrator. The tests parse it where there is PowerShell 7 (pwsh). It has not run on Windows.

.PARAMETER VolumeId
The volume, as block storage calls it (a UUID).

.PARAMETER Wwn
The volume's WWN, as block storage says it; SCSI disks are found by it.

.PARAMETER Release
Take the disk offline if nothing holds it.

.PARAMETER Json
Write one JSON object instead of lines for people.
#>
param([string]$VolumeId = '', [string]$Wwn = '', [switch]$Release, [switch]$Json)

Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

$dynamicTypes = '{5808c8aa-7e8f-42e0-85d2-e1e90434cfb3}', '{af9b60a0-1431-4f62-bc68-3311714a69ad}'

Add-Type -TypeDefinition @'
using System;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

public static class VolumeLock
{
    [DllImport("kernel32.dll", SetLastError = true, CharSet = CharSet.Unicode)]
    static extern SafeFileHandle CreateFile(
        string name, uint access, uint share, IntPtr security, uint creation, uint flags, IntPtr template);

    [DllImport("kernel32.dll", SetLastError = true)]
    static extern bool DeviceIoControl(
        SafeFileHandle device, uint code, IntPtr input, uint inputSize, IntPtr output, uint outputSize,
        out uint returned, IntPtr overlapped);

    // 0, or the error of Windows. FSCTL_LOCK_VOLUME fails while anybody else has a file of the volume open.
    public static int Try(string volume)
    {
        using (var handle = CreateFile(volume, 0xC0000000, 3, IntPtr.Zero, 3, 0, IntPtr.Zero))
        {
            if (handle.IsInvalid) { return Marshal.GetLastWin32Error(); }
            uint returned;
            bool locked = DeviceIoControl(
                handle, 0x00090018, IntPtr.Zero, 0, IntPtr.Zero, 0, out returned, IntPtr.Zero);
            return locked ? 0 : Marshal.GetLastWin32Error();
        }
    }
}
'@

function Get-Normal([string]$Text) {
    return (($Text -replace '[\s-]', '').ToLowerInvariant() -replace '^0x', '')
}

function Exit-With([int]$Status, [string]$Result, [string]$Message, $Disks = @(), $Held = @(), $Did = @()) {
    if ($Json) {
        [ordered]@{
            volume_id = $VolumeId; mode = $(if ($Release) { 'release' } else { 'check' }); result = $Result
            message = $Message; devices = @($Disks | ForEach-Object { "disk $($_.Number)" })
            held_by = @($Held); did = @($Did)
        } | ConvertTo-Json -Depth 4 -Compress
    }
    else {
        foreach ($disk in @($Disks)) { "device   disk $($disk.Number), $($disk.FriendlyName)" }
        foreach ($one in @($Did)) { "did      $one" }
        foreach ($one in @($Held)) { "held by  $($one.kind): $($one.device), $($one.detail)" }
        "result   ${Result}: $Message"
    }
    exit $Status
}

function Get-Holder($Disk) {
    $name = "disk $($Disk.Number)"
    if ($Disk.IsBoot -or $Disk.IsSystem) {
        @{ kind = 'system'; device = $name; detail = 'the running system is on it' }
    }
    if ($Disk.IsClustered) {
        @{ kind = 'cluster'; device = $name; detail = 'it belongs to a failover cluster: remove it there first' }
    }
    if ($Disk.IsOffline) { return }
    $pageFiles = @(Get-CimInstance -ClassName Win32_PageFileUsage | ForEach-Object { $_.Name })
    foreach ($partition in @(Get-Partition -DiskNumber $Disk.Number -ErrorAction SilentlyContinue)) {
        if ($dynamicTypes -contains "$($partition.GptType)" -or $partition.MbrType -eq 0x42) {
            @{ kind = 'shared'; device = $name; detail = 'a dynamic disk, whose volumes may be on other disks as well' }
        }
        $places = @($partition.AccessPaths | Where-Object { $_ })
        foreach ($file in $pageFiles) {
            if (@($places | Where-Object { $file -like "$_*" }).Count) {
                @{ kind = 'swap'; device = $name; detail = "the page file $file" }
            }
        }
        foreach ($volume in @($places | Where-Object { $_.StartsWith('\\?\Volume') })) {
            $code = [VolumeLock]::Try($volume.TrimEnd('\'))
            if ($code -ne 0) {
                $why = (New-Object ComponentModel.Win32Exception $code).Message
                @{ kind = 'process'; device = $name; detail = "files are open on $($places[0]): $why" }
            }
        }
    }
}

if ($VolumeId -notmatch '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$') {
    Exit-With 2 'usage' '-VolumeId wants the id of the volume, a UUID'
}
$user = New-Object Security.Principal.WindowsPrincipal ([Security.Principal.WindowsIdentity]::GetCurrent())
if (-not $user.IsInRole([Security.Principal.WindowsBuiltInRole]::Administrator)) {
    Exit-With 2 'usage' 'run this as an administrator'
}

# virtio keeps 20 characters of the id.
$serials = (Get-Normal $VolumeId), (Get-Normal $VolumeId.Substring(0, 20))
$number = Get-Normal ($Wwn -replace '^naa\.', '')
$found = @(Get-Disk | Where-Object {
        $serials -contains (Get-Normal "$($_.SerialNumber)") -or
        ($number -and (Get-Normal "$($_.UniqueId)") -eq $number)
    })
if ($found.Count -eq 0) { Exit-With 3 'not_found' 'no disk has the id or WWN of this volume' }
if ($found.Count -gt 1) { Exit-With 3 'ambiguous' 'more than one disk answers to it; nothing was changed' $found }

$holders = @(Get-Holder $found[0])
if ($holders.Count) { Exit-With 1 'held' 'see to what holds the disk; nothing was changed' $found $holders }
if (-not $Release) { Exit-With 0 'free' 'nothing holds the disk' $found }

$did = @()
if (-not $found[0].IsOffline) {
    Set-Disk -Number $found[0].Number -IsOffline $true
    $did = @("Set-Disk -Number $($found[0].Number) -IsOffline `$true")
}
if (-not (Get-Disk -Number $found[0].Number).IsOffline) {
    Exit-With 1 'held' 'Windows did not take the disk offline' $found @() $did
}
Exit-With 0 'released' 'the disk is offline; it may be detached' $found @() $did
