"""Results on paper and screen: pictures, tables. Computes nothing."""
