"""The page in the browser: what is asked as sliders and fields, what comes out as pictures. Computes nothing."""
