"""The language of networks, without torch: graphs with shapes, seed networks, morphisms, operation counts."""
