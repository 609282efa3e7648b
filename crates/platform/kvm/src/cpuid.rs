//! The processor that guests see: named features and nothing of the host.
//!
//! Snapshots move between hosts, so guests see features from a fixed list, as far as the host has them; no
//! hypervisor, no topology, no counters, nothing that needs ring 0.

use kvm_bindings::{
    CpuId, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, KVM_MAX_CPUID_ENTRIES, kvm_cpuid_entry2,
};
use kvm_ioctls::Kvm;
use platform_api::{PlatformError, ProcessorFeatures, processor};

use crate::error::refused;

/// Leaf 1: SSE3 PCLMULQDQ SSSE3 FMA CX16 SSE4.1 SSE4.2 MOVBE POPCNT AES XSAVE OSXSAVE AVX F16C RDRAND.
const LEAF1_ECX: u32 = 1
    | 1 << 1
    | 1 << 9
    | 1 << 12
    | 1 << 13
    | 1 << 19
    | 1 << 20
    | 1 << 22
    | 1 << 23
    | 1 << 25
    | 1 << 26
    | 1 << 27
    | 1 << 28
    | 1 << 29
    | 1 << 30;
/// Leaf 1: FPU DE PSE TSC MSR PAE CX8 SEP PGE CMOV PAT CLFLUSH MMX FXSR SSE SSE2.
const LEAF1_EDX: u32 = 1
    | 1 << 2
    | 1 << 3
    | 1 << 4
    | 1 << 5
    | 1 << 6
    | 1 << 8
    | 1 << 11
    | 1 << 13
    | 1 << 15
    | 1 << 16
    | 1 << 19
    | 1 << 23
    | 1 << 24
    | 1 << 25
    | 1 << 26;
/// Leaf 7: FSGSBASE BMI1 AVX2 SMEP BMI2 ERMS AVX512F/DQ RDSEED ADX SMAP AVX512IFMA CLFLUSHOPT CLWB AVX512CD SHA AVX512BW/VL.
const LEAF7_EBX: u32 = 1
    | 1 << 3
    | 1 << 5
    | 1 << 7
    | 1 << 8
    | 1 << 9
    | 1 << 16
    | 1 << 17
    | 1 << 18
    | 1 << 19
    | 1 << 20
    | 1 << 21
    | 1 << 23
    | 1 << 24
    | 1 << 28
    | 1 << 29
    | 1 << 30
    | 1 << 31;
/// Leaf 7: AVX512VBMI UMIP AVX512VBMI2 GFNI VAES VPCLMULQDQ AVX512VNNI AVX512BITALG AVX512VPOPCNTDQ.
const LEAF7_ECX: u32 =
    1 << 1 | 1 << 2 | 1 << 6 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12 | 1 << 14;
/// Leaf 7: FSRM AVX512_FP16.
const LEAF7_EDX: u32 = 1 << 4 | 1 << 23;
/// Leaf 7, subleaf 1: AVX-VNNI AVX512_BF16, and the fast short string instructions.
const LEAF7_1_EAX: u32 = 1 << 4 | 1 << 5 | 1 << 10 | 1 << 11 | 1 << 12;
/// Leaf 0x80000001: LAHF ABM(LZCNT) PREFETCHW.
const EXTENDED_ECX: u32 = 1 | 1 << 5 | 1 << 8;
/// Leaf 0x80000001: SYSCALL NX RDTSCP LM.
const EXTENDED_EDX: u32 = 1 << 11 | 1 << 20 | 1 << 27 | 1 << 29;
/// Leaf 0xd: XSAVEOPT XSAVEC XGETBV1.
const XSAVE_WAYS: u32 = 7;

const XCR0_AVX: u64 = 4;
const XCR0_AVX512: u64 = 0xe0;
const AVX_ECX: u32 = 1 << 28;
/// Leaf 1: FMA F16C, which work on AVX's registers.
const LEAF1_WITH_AVX: u32 = 1 << 12 | 1 << 29;

/// What the rest of the platform needs to know of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CpuModel {
    pub(crate) xcr0: u64,
    /// Bytes of an XSAVE area in standard format with those parts.
    pub(crate) xstate_size: usize,
    pub(crate) fsgsbase: bool,
    pub(crate) smep: bool,
    pub(crate) smap: bool,
    pub(crate) umip: bool,
}

/// What guests find of the listed features, by what a vCPU answers.
pub(crate) fn found(leaves: &CpuId) -> ProcessorFeatures {
    ProcessorFeatures::found(|function, index| {
        let entry = leaves.as_slice().iter().find(|entry| {
            let indexed = entry.flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX != 0;
            entry.function == function && (!indexed || entry.index == index)
        });
        entry.map_or([0; 4], |entry| [entry.eax, entry.ebx, entry.ecx, entry.edx])
    })
}

/// The model for a host, and the leaves that say so to guests.
pub(crate) fn model(kvm: &Kvm) -> Result<(CpuId, CpuModel), PlatformError> {
    let mut cpuid = kvm
        .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
        .map_err(refused("ask which processor features there are"))?;
    let leaf = |function: u32, index: u32| {
        let found = cpuid
            .as_slice()
            .iter()
            .find(|e| e.function == function && e.index == index);
        found.copied().unwrap_or_default()
    };
    let parts = leaf(0xd, 0);
    // What may be in XCR0 is this leaf's to say: some hosts list no AVX in leaf 1, and have it nevertheless.
    let xcr0 = processor::state_components(u64::from(parts.eax) | u64::from(parts.edx) << 32);
    let xstate_size = processor::state_size(xcr0, |function, index| {
        let entry = leaf(function, index);
        [entry.eax, entry.ebx, entry.ecx, entry.edx]
    });
    let seven = leaf(7, 0);
    let model = CpuModel {
        xcr0,
        xstate_size,
        fsgsbase: seven.ebx & 1 != 0,
        smep: seven.ebx & 1 << 7 != 0,
        smap: seven.ebx & 1 << 20 != 0,
        umip: seven.ecx & 1 << 2 != 0,
    };
    for entry in cpuid.as_mut_slice() {
        add_plain(entry);
        filter(entry, &model);
    }
    Ok((cpuid, model))
}

/// Adds what the processor has and no virtual machine can keep from a program, whatever the host lists: so guests find on this platform
/// what they find as processes of the same host.
fn add_plain(entry: &mut kvm_cpuid_entry2) {
    let plain = processor::plain_bits(entry.function, entry.index);
    if plain == [0; 4] {
        return;
    }
    let native = processor::native(entry.function, entry.index);
    let registers = [
        &mut entry.eax,
        &mut entry.ebx,
        &mut entry.ecx,
        &mut entry.edx,
    ];
    for ((register, native), plain) in registers.into_iter().zip(native).zip(plain) {
        *register |= native & plain;
    }
}

fn filter(entry: &mut kvm_cpuid_entry2, model: &CpuModel) {
    let avx = model.xcr0 & XCR0_AVX != 0;
    let avx512 = model.xcr0 & XCR0_AVX512 != 0;
    match (entry.function, entry.index) {
        (0, _) => entry.eax = entry.eax.min(0x16),
        (1, _) => {
            // One processor with number 0; CLFLUSH size stays.
            entry.ebx = entry.ebx & 0xff00 | 1 << 16;
            entry.ecx &= LEAF1_ECX;
            entry.edx &= LEAF1_EDX;
            if !avx {
                entry.ecx &= !(AVX_ECX | LEAF1_WITH_AVX);
            }
        }
        (2 | 4, _) => {
            // Caches: how many processors share them stays hidden.
            if entry.function == 4 {
                entry.eax &= 0x3fff;
            }
        }
        (7, 0) => {
            // There is one more subleaf.
            entry.eax = entry.eax.min(1);
            entry.ebx &= LEAF7_EBX;
            entry.ecx &= LEAF7_ECX;
            entry.edx &= LEAF7_EDX;
            if !avx {
                entry.ebx &= !(1 << 5);
                entry.ecx &= !(1 << 9 | 1 << 10);
            }
            if !avx512 {
                entry.ebx &= !(1 << 16 | 1 << 17 | 1 << 21 | 1 << 28 | 1 << 30 | 1 << 31);
                entry.ecx &= !(1 << 1 | 1 << 6 | 1 << 11 | 1 << 12 | 1 << 14);
                entry.edx &= !(1 << 23);
            }
        }
        (7, 1) => {
            entry.eax &= LEAF7_1_EAX;
            if !avx {
                entry.eax &= !(1 << 4);
            }
            if !avx512 {
                entry.eax &= !(1 << 5);
            }
            (entry.ebx, entry.ecx, entry.edx) = (0, 0, 0);
        }
        (0xd, 0) => {
            entry.eax &= model.xcr0 as u32;
            entry.edx &= (model.xcr0 >> 32) as u32;
            entry.ebx = model.xstate_size as u32;
            entry.ecx = model.xstate_size as u32;
        }
        (0xd, 1) => {
            entry.eax &= XSAVE_WAYS;
            (entry.ebx, entry.ecx, entry.edx) = (0, 0, 0);
        }
        (0xd, part @ 2..64) if model.xcr0 & 1 << part != 0 => {}
        (0x8000_0001, _) => {
            entry.ecx &= EXTENDED_ECX;
            entry.edx &= EXTENDED_EDX;
        }
        // Names, sizes of addresses, the invariant counter.
        (0x8000_0000 | 0x8000_0002..=0x8000_0006, _) => {}
        (0x8000_0007, _) => {
            entry.edx &= 1 << 8;
            (entry.eax, entry.ebx, entry.ecx) = (0, 0, 0);
        }
        (0x8000_0008, _) => {
            entry.eax &= 0xffff;
            (entry.ebx, entry.ecx, entry.edx) = (0, 0, 0);
        }
        (0x15 | 0x16, _) => {}
        _ => (entry.eax, entry.ebx, entry.ecx, entry.edx) = (0, 0, 0, 0),
    }
}
