//! Lets aya copy our map types to and from the kernel.

/// A map key or value as aya takes it: aya has its own trait for plain bytes, and `lb-common` knows no aya.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Wire<T>(pub T);

// SAFETY: aya demands what bytemuck::Pod guarantees, that any bytes are a value and that there is no padding; a
// transparent wrapper has the representation of what it wraps.
unsafe impl<T: bytemuck::Pod> aya::Pod for Wire<T> {}
