"""What tests of Stoker, and of policies that others write for it, build their values with."""
