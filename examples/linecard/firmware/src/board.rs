//! The board: a clock of milliseconds, a serial line, and the end of it all. The only room with `unsafe` in it.
//!
//! ARM's MPS2 board with the AN386 image (a Cortex-M4 at 25 MHz), as QEMU emulates it. Another board has another serial
//! line; the rest is the core's.

use core::cell::{Cell, RefCell};

use cortex_m::peripheral::{NVIC, syst::SystClkSource};
use critical_section::Mutex;
use heapless::Deque;
use karp_core::Instant;

/// The processor's clock, which SysTick counts.
const CLOCK_HZ: u32 = 25_000_000;

/// What arrived on the line and was not read yet: more than the largest frame, which may come while a signature is made.
const UNREAD: usize = 2048;

static MILLIS: Mutex<Cell<u64>> = Mutex::new(Cell::new(0));
static LINE: Mutex<RefCell<Deque<u8, UNREAD>>> = Mutex::new(RefCell::new(Deque::new()));
static LOST: Mutex<Cell<u32>> = Mutex::new(Cell::new(0));

/// CMSDK UART (ARM DDI 0479): registers of 32 bits.
mod uart {
    const BASE: usize = 0x4000_4000;
    const DATA: *mut u32 = BASE as *mut u32;
    const STATE: *const u32 = (BASE + 4) as *const u32;
    const CONTROL: *mut u32 = (BASE + 8) as *mut u32;
    const INTERRUPT: *mut u32 = (BASE + 12) as *mut u32;
    const DIVIDER: *mut u32 = (BASE + 16) as *mut u32;
    const SEND_FULL: u32 = 1;
    const RECEIVE_FULL: u32 = 2;
    /// Sending on, receiving on, an interrupt for each octet received.
    const ON: u32 = 1 | 2 | 8;

    pub(super) fn start(divider: u32) {
        // SAFETY: the addresses are the UART's registers, which nothing else touches, and writing them has no effect
        // on memory.
        unsafe {
            DIVIDER.write_volatile(divider);
            CONTROL.write_volatile(ON);
        }
    }

    pub(super) fn receive() -> Option<u8> {
        // SAFETY: as above. Reading DATA takes the octet out of the receiver.
        unsafe {
            INTERRUPT.write_volatile(2);
            (STATE.read_volatile() & RECEIVE_FULL != 0).then(|| DATA.read_volatile() as u8)
        }
    }

    pub(super) fn send(octet: u8) {
        // SAFETY: as above.
        unsafe {
            while STATE.read_volatile() & SEND_FULL != 0 {}
            DATA.write_volatile(u32::from(octet));
        }
    }
}

/// The UART's interrupt for octets received.
#[derive(Clone, Copy)]
struct LineInterrupt;

// SAFETY: the number is the board's, and does not change.
unsafe impl cortex_m::interrupt::InterruptNumber for LineInterrupt {
    fn number(self) -> u16 {
        0
    }
}

/// The board in use: there is one.
pub(crate) struct Board(());

impl Board {
    /// Starts clock and line. `None` the second time.
    pub(crate) fn take() -> Option<Self> {
        let mut core = cortex_m::Peripherals::take()?;
        core.SYST.set_clock_source(SystClkSource::Core);
        core.SYST.set_reload(CLOCK_HZ / 1000 - 1);
        core.SYST.clear_current();
        core.SYST.enable_interrupt();
        core.SYST.enable_counter();
        uart::start(CLOCK_HZ / 115_200);
        // SAFETY: the handlers share nothing with the rest but what stands in a `Mutex`.
        unsafe { NVIC::unmask(LineInterrupt) };
        Some(Self(()))
    }

    /// Milliseconds since the start. SysTick goes on while the processor waits for an interrupt; a card that puts its
    /// clocks to sleep needs a timer that goes on then (PROTOCOL.md section 2).
    pub(crate) fn now(&self) -> Instant {
        Instant::from_millis(critical_section::with(|cs| MILLIS.borrow(cs).get()))
    }

    /// The next octet from the line.
    pub(crate) fn receive(&mut self) -> Option<u8> {
        critical_section::with(|cs| LINE.borrow_ref_mut(cs).pop_front())
    }

    /// Sends an octet, and waits until there is room for it.
    pub(crate) fn send(&mut self, octet: u8) {
        uart::send(octet);
    }

    /// Octets that came while there was no room for them. The frames that they were in are lost, as on any link.
    pub(crate) fn lost(&self) -> u32 {
        critical_section::with(|cs| LOST.borrow(cs).get())
    }

    /// Rests until something happens: a millisecond at most.
    pub(crate) fn rest(&self) {
        cortex_m::asm::wfi();
    }
}

defmt::timestamp!("{=u64:ms}", critical_section::with(|cs| MILLIS.borrow(cs).get()));

/// The processor's clock interrupt.
#[cortex_m_rt::exception]
fn SysTick() {
    critical_section::with(|cs| {
        let millis = MILLIS.borrow(cs);
        millis.set(millis.get().wrapping_add(1));
    });
}

/// The board's interrupts: only one is on.
#[cortex_m_rt::exception]
unsafe fn DefaultHandler(_number: i16) {
    critical_section::with(|cs| {
        let mut line = LINE.borrow_ref_mut(cs);
        while let Some(octet) = uart::receive() {
            if line.push_back(octet).is_err() {
                let lost = LOST.borrow(cs);
                lost.set(lost.get().wrapping_add(1));
            }
        }
    });
}

/// A fault of the processor, or a panic, which is compiled to an undefined instruction: nothing that arrives makes karp
/// panic, so this firmware is broken. The address says where (`arm-none-eabi-addr2line`).
#[cortex_m_rt::exception]
unsafe fn HardFault(frame: &cortex_m_rt::ExceptionFrame) -> ! {
    defmt::error!("fault at {=u32:#010x}", frame.pc());
    end(false)
}

/// Never called, see above; `core` wants one.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    end(false)
}

/// Ends the emulation. A real card would start anew.
pub(crate) fn end(well: bool) -> ! {
    semihosting::process::exit(i32::from(!well))
}

/// Octets of stack that were in use at the deepest: what the start painted and nothing wrote on since is not counted.
pub(crate) fn deepest_stack() -> usize {
    unsafe extern "C" {
        static _stack_start: u32;
        static _stack_end: u32;
    }
    // SAFETY: the linker puts the symbols around the stack, which is memory that may be read; nobody holds a reference
    // to its unused part.
    unsafe {
        let top = &raw const _stack_start;
        let mut at = &raw const _stack_end;
        while at < top && at.read_volatile() == cortex_m_rt::STACK_PAINT_VALUE {
            at = at.add(1);
        }
        top.byte_offset_from_unsigned(at)
    }
}
