//! Axis-aligned boxes in the two coordinate systems of a detector.
//!
//! Coordinates are continuous: a box from 0 to 10 is 10 wide, with no "+1 pixel".

/// A box in fractions of the network's input canvas.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NormBox {
    /// Left.
    pub x1: f32,
    /// Top.
    pub y1: f32,
    /// Right.
    pub x2: f32,
    /// Bottom.
    pub y2: f32,
}

/// A box in pixels of an image, origin at the top left.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PxBox {
    /// Left.
    pub x1: f32,
    /// Top.
    pub y1: f32,
    /// Right.
    pub x2: f32,
    /// Bottom.
    pub y2: f32,
}

impl NormBox {
    /// Width as a fraction of the canvas; negative when the corners are swapped.
    pub fn width(&self) -> f32 {
        self.x2 - self.x1
    }

    /// Height as a fraction of the canvas; negative when the corners are swapped.
    pub fn height(&self) -> f32 {
        self.y2 - self.y1
    }

    /// The part inside the canvas.
    pub fn clip(&self) -> Self {
        let unit = |v: f32| v.clamp(0.0, 1.0);
        Self { x1: unit(self.x1), y1: unit(self.y1), x2: unit(self.x2), y2: unit(self.y2) }
    }
}

impl PxBox {
    /// Width in pixels; negative when the corners are swapped.
    pub fn width(&self) -> f32 {
        self.x2 - self.x1
    }

    /// Height in pixels; negative when the corners are swapped.
    pub fn height(&self) -> f32 {
        self.y2 - self.y1
    }

    /// The part inside an image of `width` × `height` pixels.
    pub fn clip(&self, width: usize, height: usize) -> Self {
        let (w, h) = (width as f32, height as f32);
        Self {
            x1: self.x1.clamp(0.0, w),
            y1: self.y1.clamp(0.0, h),
            x2: self.x2.clamp(0.0, w),
            y2: self.y2.clamp(0.0, h),
        }
    }
}
