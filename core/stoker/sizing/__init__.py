"""How many replicas a demand needs. Pure; knows no plan, no devices and no bounds."""
